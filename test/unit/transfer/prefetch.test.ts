import { setTimeout } from 'node:timers/promises'
import test from 'ava'
import { FILES_MAX, FILES_MAX_BYTES } from '../../../agent/store/tree-contract.ts'
import { Prefetch } from '../../../agent/transfer/send/prefetch.ts'
import { DATA_MAX_BYTES, FILES_PER_REQUEST_MAX } from '../../../agent/transfer/wire/frame.ts'
import { untilTrue } from '../until.ts'

/** Counts up; notes how far it got and whether it was ended. */
function counter(last: number, failure?: Error) {
  const seen = { produced: 0, ended: false }
  async function* count() {
    try {
      for (let nth = 1; nth <= last; nth++) {
        seen.produced = nth
        yield nth
      }
      if (failure !== undefined) throw failure
    } finally {
      seen.ended = true
    }
  }
  return { seen, numbers: count() }
}

test('what is produced ahead comes in order, its failure after all that came before', async (t) => {
  const { numbers } = counter(50, new Error('the disk is gone'))
  const got: number[] = []
  const take = async () => {
    for await (const number of new Prefetch(numbers)) {
      got.push(number)
      if (number % 7 === 0) await setTimeout(1)
    }
  }
  await t.throwsAsync(take, { message: 'the disk is gone' })
  t.deepEqual(
    got,
    Array.from({ length: 50 }, (_, nth) => nth + 1),
  )
})

test('only a little is produced before it is asked for', async (t) => {
  const { seen, numbers } = counter(1_000)
  await using ahead = new Prefetch(numbers)
  await untilTrue(() => seen.produced === 2)
  await setTimeout(20)
  t.is(seen.produced, 2)
  for await (const number of ahead) if (number === 10) break
  await setTimeout(20)
  t.true(seen.produced <= 13, `${seen.produced}`)
})

test('disposing ends a source that waits to be asked, and one that has failed', async (t) => {
  const waiting = counter(1_000)
  const ahead = new Prefetch(waiting.numbers)
  await untilTrue(() => waiting.seen.produced === 2)
  await ahead[Symbol.asyncDispose]()
  t.true(waiting.seen.ended)
  const failing = counter(0, new Error('the disk is gone'))
  await new Prefetch(failing.numbers)[Symbol.asyncDispose]()
  t.true(failing.seen.ended)
})

test('what the store may want in one go fits into one want and one frame', (t) => {
  t.is(FILES_PER_REQUEST_MAX, FILES_MAX)
  t.true(DATA_MAX_BYTES >= FILES_MAX_BYTES)
})
