/** Says COUNT words to the process that started it, two milliseconds apart but for 1.2 s after the first, then ends; `kill`: says two at once and dies. */
import { setTimeout as sleep } from 'node:timers/promises'
import { createAgentWatchdog } from '../../../agent/fence/watchdog-messages.ts'

const watchdog = createAgentWatchdog(process)
const say = (untilMs: number) => watchdog.guard({ untilMs, volumes: [{ id: 'id1', name: 'data', epoch: 3 }] })
if (process.argv[2] === 'kill') {
  say(1)
  say(2)
  process.kill(process.pid, 'SIGKILL')
}
const count = Number(process.argv[2])
for (let untilMs = 1; untilMs <= count; untilMs++) {
  say(untilMs)
  await sleep(untilMs === 1 ? 1_200 : 2)
}
await sleep(50)
process.exit(0)
