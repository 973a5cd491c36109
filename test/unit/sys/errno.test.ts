import test from 'ava'
import { failure, repeated } from '../../../agent/sys/libc.ts'

const EAGAIN = 11
const ENXIO = 6

/** A call that fails each time; what errno is found to be then. */
function failing(errnos: readonly number[]) {
  let calls = 0
  const raw = () => {
    calls++
    return -1
  }
  const call = repeated(
    raw,
    () => errnos[Math.min(calls, errnos.length) - 1] ?? 0,
    (errno) => errno === EAGAIN,
  )
  return { call, calls: () => calls }
}

test('a failure whose reason a wait for a lock has covered is asked for again', (t) => {
  const { call, calls } = failing([EAGAIN, ENXIO])
  t.is(call('x'), -1)
  t.is(calls(), 2)
  t.is(failure('lseek', 'fd 3').errno, 'ENXIO')
})

test('a reason that stays is the reason', (t) => {
  const { call, calls } = failing([EAGAIN])
  t.is(call('x'), -1)
  t.is(calls(), 4)
  t.is(failure('flock', 'fd 3').errno, 'EAGAIN')
})

test('a failure with a plain reason is not repeated', (t) => {
  const { call, calls } = failing([ENXIO])
  t.is(call('x'), -1)
  t.is(calls(), 1)
})
