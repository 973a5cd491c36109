import type { Host } from '../lab/host.ts'
import { PLUGIN_PROCESSES } from '../lab/plugin-processes.ts'
import { cpuSecondsOf } from './process-figures.ts'

/** CPU seconds that the host's agent has used so far, all its threads together. */
export function agentCpuSeconds(host: Host): number {
  const [agent] = host.processes(PLUGIN_PROCESSES.agent)
  if (agent === undefined) throw new Error(`${host.name}: there is no agent`)
  return cpuSecondsOf(agent.pid)
}
