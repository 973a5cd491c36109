/**
 * A process beside the lab's owner that takes the lab down when the owner is gone, however it went. It holds the
 * machine's lab lock (`flock` started it with the lock in hand), so the next lab starts only after this one is gone.
 *
 * Says `ready` once leftovers of earlier labs are cleared away. Reads its input to the end: the owner never closes it,
 * so the end means that the owner has died or is done. A line `keep` before the end means: leave the lab up.
 */
import { stdin, stdout } from 'node:process'
import { readRecord } from './record.ts'
import { takeDown } from './takedown.ts'

async function takeDownWhatIsThere(): Promise<void> {
  const record = readRecord()
  if (record !== null) await takeDown(record)
}

// The terminal's Ctrl-C goes to the owner; what it leaves behind is cleared when the input ends.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})
// The owner's end of the pipe may be closed already when this one speaks.
stdout.on('error', () => {})

await takeDownWhatIsThere()
stdout.write('ready\n')
let said = ''
for await (const chunk of stdin) said += chunk
if (!said.includes('keep')) await takeDownWhatIsThere()
