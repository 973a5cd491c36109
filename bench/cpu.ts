import { readFileSync } from 'node:fs'
import type { Host } from '../lab/host.ts'

/** Clock ticks a second in /proc (sysconf(_SC_CLK_TCK)): 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100
/** Fields of /proc/PID/stat after the name in parentheses; the state is the first of them (proc(5)). */
const USER_TICKS = 11
const SYSTEM_TICKS = 12

/** CPU seconds that the host's agent has used so far, all its threads together. */
export function agentCpuSeconds(host: Host): number {
  const [agent] = host.processes(/agent\/main\.ts/)
  if (agent === undefined) throw new Error(`${host.name}: there is no agent`)
  const stat = readFileSync(`/proc/${agent.pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[USER_TICKS]) + Number(fields[SYSTEM_TICKS])) / TICKS_PER_SECOND
}
