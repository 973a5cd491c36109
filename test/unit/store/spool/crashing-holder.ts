// Run as a child process: takes a checkpoint of a held volume, or sets its tree aside.
// It kills itself at the given step, as kill -9 would.
import { crashingStore } from '../crash-at.ts'

const [stateDir = '', id = '', work = '', step = '', occurrence = '1'] = process.argv.slice(2)
const calm = new AbortController().signal
const store = await crashingStore(stateDir, step, occurrence)
await store.recover()
if (work === 'checkpoint') {
  const seq = ((await store.copy(id))?.checkpoint?.seq ?? 0) + 1
  await store.spoolRound(id, calm)
  await store.spoolFreeze(id, 'quiet', calm)
  const { hash, bytes, files } = await store.spoolLast(id, calm)
  await store.spoolCommit(id, { epoch: 1, seq, hash, bytes, files, at: '2026-01-01T00:00:00.000Z' })
} else if (work === 'diverge') await store.diverge(id, '2026-01-01T00:00:00.000Z', null)
await store[Symbol.asyncDispose]()
