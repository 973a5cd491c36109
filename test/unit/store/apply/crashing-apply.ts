// Run as a child process: applies what is staged and kills itself, as kill -9 would, at the given step; '' for none.
import { crashingStore } from '../crash-at.ts'

const [stateDir = '', id = '', checkpoint = '', step = '', occurrence = '1'] = process.argv.slice(2)
const store = await crashingStore(stateDir, step, occurrence)
// Whoever kills this process at a time of its own starts its clock now.
process.stdout.write('ready\n')
await store.recover()
await store.apply(id, JSON.parse(checkpoint))
await store[Symbol.asyncDispose]()
