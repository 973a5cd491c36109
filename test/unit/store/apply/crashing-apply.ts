// Run as a child process: applies what is staged and kills itself, as kill -9 would, at the given step; '' for none.
import { pino } from 'pino'
import { openStore } from '../../../../agent/store/store.ts'

const [stateDir = '', id = '', checkpoint = '', step = '', occurrence = '1'] = process.argv.slice(2)
let left = Number(occurrence)
const store = await openStore({
  stateDir,
  mountRoot: `${stateDir}/mnt`,
  trashRetentionMs: 0,
  log: pino({ level: 'silent' }),
  faultPoint: (name) => {
    if (name !== step) return
    left -= 1
    if (left === 0) process.kill(process.pid, 'SIGKILL')
  },
})
// Whoever kills this process at a time of its own starts its clock now.
process.stdout.write('ready\n')
await store.recover()
await store.apply(id, JSON.parse(checkpoint))
await store[Symbol.asyncDispose]()
