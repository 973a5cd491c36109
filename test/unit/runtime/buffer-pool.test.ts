import { mock } from 'node:test'
import test from 'ava'
import { BufferPool } from '../../../agent/runtime/buffer-pool.ts'

const MIB = 1024 * 1024

test('memory that was given back is used again, and only once at a time', (t) => {
  const recycler = new BufferPool()
  const first = recycler.take(MIB)
  t.not(recycler.take(MIB).buffer, first.buffer)
  recycler.give(first.subarray(10, 20))
  recycler.give(first)
  t.is(recycler.take(300_000).buffer, first.buffer)
  t.not(recycler.take(MIB).buffer, first.buffer)
})

test('memory that somebody else may use is not taken', (t) => {
  const recycler = new BufferPool()
  const foreign = Buffer.from(new ArrayBuffer(MIB))
  recycler.give(foreign)
  t.not(recycler.take(MIB).buffer, foreign.buffer)
})

test('memory that came back from another thread is used again', (t) => {
  const recycler = new BufferPool()
  const back = new ArrayBuffer(MIB)
  recycler.adopt(back)
  recycler.adopt(new ArrayBuffer(10))
  t.is(recycler.take(MIB).buffer, back)
  const lent = recycler.lend(new Uint8Array(new ArrayBuffer(MIB), 0, 5))
  t.is(lent.length, 5)
  recycler.give(lent)
  t.is(recycler.take(MIB).buffer, lent.buffer)
})

test.serial('free buffers are dropped when none was given back for ten seconds', (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const buffers = new BufferPool()
  const first = buffers.take(MIB)
  buffers.give(first)
  mock.timers.tick(9_000)
  t.is(buffers.take(MIB).buffer, first.buffer)
  buffers.give(first)
  mock.timers.tick(9_000)
  buffers.give(buffers.take(MIB))
  mock.timers.tick(10_000)
  t.not(buffers.take(MIB).buffer, first.buffer)
})
