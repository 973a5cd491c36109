/**
 * Sends COUNT guards to its parent, 2 ms apart but for 1.2 s after the first, then ends.
 * `kill`: sends two at once and is killed.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { createAgentWatchdog } from '../../../agent/fence/watchdog-messages.ts'

const watchdog = createAgentWatchdog(process)
const send = (untilMs: number) => watchdog.guard({ untilMs, volumes: [{ id: 'id1', name: 'data', epoch: 3 }] })
if (process.argv[2] === 'kill') {
  send(1)
  send(2)
  process.kill(process.pid, 'SIGKILL')
}
const count = Number(process.argv[2])
for (let untilMs = 1; untilMs <= count; untilMs++) {
  send(untilMs)
  await sleep(untilMs === 1 ? 1_200 : 2)
}
await sleep(50)
process.exit(0)
