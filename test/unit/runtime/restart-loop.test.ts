import test from 'ava'
import { restartLoop } from '../../../agent/runtime/restart-loop.ts'

/** Runs that end at once; notes the waits between them, and aborts after `runs`. */
async function waitsOf(runs: number, waits: { firstMs: number; lastMs: number; steadyMs: number }) {
  const stop = new AbortController()
  const seen: number[] = []
  let count = 0
  const run = async () => {
    if (++count === runs) stop.abort()
    return true
  }
  await restartLoop({ run, ended: (waitMs) => seen.push(waitMs), waits, signal: stop.signal })
  return seen
}

test('waits double with each run that ends early, up to the longest', async (t) => {
  t.deepEqual(await waitsOf(6, { firstMs: 1, lastMs: 5, steadyMs: 60_000 }), [1, 2, 4, 5, 5])
})

test('a run that was steady begins a new series of waits', async (t) => {
  t.deepEqual(await waitsOf(4, { firstMs: 1, lastMs: 5, steadyMs: 0 }), [1, 1, 1])
})

test('a run that returns false is not followed by another', async (t) => {
  let runs = 0
  const run = async () => ++runs < 3
  const waits = { firstMs: 1, lastMs: 1, steadyMs: 0 }
  await restartLoop({ run, ended: () => {}, waits, signal: new AbortController().signal })
  t.is(runs, 3)
})

test('an abort ends a wait', async (t) => {
  const stop = new AbortController()
  const waits = { firstMs: 60_000, lastMs: 60_000, steadyMs: 0 }
  const loop = restartLoop({ run: async () => true, ended: () => stop.abort(), waits, signal: stop.signal })
  await t.notThrowsAsync(loop)
})
