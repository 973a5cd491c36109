/** Plays the plugin's process: freezes what its parent asks for, below ROOT; its state is in STATE. */
import { pino } from 'pino'
import { openFreezerFiles } from '../../../agent/fence/freezer-files.ts'
import { systemClock } from '../../../agent/runtime/clock.ts'
import { openFence } from '../../../plugin/watchdog.ts'
import { MemoryEngine } from '../../fake/memory-engine.ts'

const [, , root = '', stateDir = ''] = process.argv
const fence = await openFence({
  stateDir,
  engine: new MemoryEngine(),
  freezerFiles: openFreezerFiles(root),
  clock: systemClock,
  leaseMs: 60_000,
  log: pino({ level: 'silent' }),
})
fence.started(
  () => {},
  (message) => process.send?.(message, undefined, {}, () => {}),
)
process.on('message', (message) => fence.heard(message))
process.on('disconnect', () => process.exit(0))
process.send?.('ready')
