/** Says COUNT words to the process that started it, two milliseconds apart but for 1.2 s after the first, then ends. */
import { setTimeout as sleep } from 'node:timers/promises'
import { createAgentWatchdog } from '../../../agent/fence/words.ts'

const count = Number(process.argv[2])
const watchdog = createAgentWatchdog(process)
for (let untilMs = 1; untilMs <= count; untilMs++) {
  watchdog.guard({ untilMs, volumes: [{ id: 'id1', name: 'data', epoch: 3 }] })
  await sleep(untilMs === 1 ? 1_200 : 2)
}
await sleep(50)
process.exit(0)
