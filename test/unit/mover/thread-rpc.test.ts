import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { MessageChannel } from 'node:worker_threads'
import test, { type ExecutionContext } from 'ava'
import { WherryError } from '../../../agent/model/errors.ts'
import { type Answers, Line } from '../../../agent/mover/thread-rpc.ts'
import { errnoOf, SystemCallError } from '../../../agent/sys/failure.ts'

/** Two ends of a line in one thread: everything is cloned all the same. */
function ends(t: ExecutionContext, answers: Answers): { caller: Line; answerer: Line } {
  const { port1, port2 } = new MessageChannel()
  t.teardown(() => port1.close())
  return { caller: new Line(port1, {}), answerer: new Line(port2, answers) }
}

/** Waits for the abort and ends with its reason, as captures and pulls do. */
async function untilAborted(signal: AbortSignal): Promise<never> {
  await once(signal, 'abort')
  throw signal.reason
}

test('arguments and answers cross by value, dates and sets included', async (t) => {
  const { caller } = ends(t, { years: (dates: Date[]) => new Set(dates.map((date) => date.getUTCFullYear())) })
  t.deepEqual(await caller.call('years', [new Date('2026-01-01'), new Date('2031-01-01')]), new Set([2026, 2031]))
})

test('an error keeps its code, hint, stack and what caused it', async (t) => {
  const fail = () => {
    const cause = Object.assign(new Error('nothing there'), { code: 'ENOENT' })
    throw new WherryError('DISK_FULL', 'The disk of h1 is full.', { hint: 'Make room.', cause })
  }
  const { caller } = ends(t, { fail })
  const error = await t.throwsAsync(caller.call('fail'), { instanceOf: WherryError })
  t.is(error.code, 'DISK_FULL')
  t.is(error.toLine(), 'The disk of h1 is full. Make room.')
  t.regex(error.stack ?? '', /at fail /)
  t.is(errnoOf(error.cause), 'ENOENT')
  t.is((error.cause as Error).message, 'nothing there')
})

test('the errno of a refused system call crosses', async (t) => {
  const fail = () => {
    throw new SystemCallError('umount2', '/mnt/x', 'EBUSY')
  }
  const { caller } = ends(t, { fail })
  const error = await t.throwsAsync(caller.call('fail'), { instanceOf: SystemCallError })
  t.is(errnoOf(error), 'EBUSY')
  t.is(error.message, new SystemCallError('umount2', '/mnt/x', 'EBUSY').message)
})

test('errors that are not ours, that are no errors, and that cause themselves cross as well', async (t) => {
  const circular = new TypeError('round and round')
  circular.cause = circular
  const { caller } = ends(t, {
    type: () => Promise.reject(circular),
    text: () => Promise.reject('just words'),
    unclonable: () => () => undefined,
  })
  const error = await t.throwsAsync(caller.call('type'), { message: 'round and round' })
  t.is(error.name, 'TypeError')
  t.false(error instanceof WherryError)
  await t.throwsAsync(caller.call('text'), { message: 'just words' })
  await t.throwsAsync(caller.call('unclonable'), { message: /could not be cloned/ })
  await t.throwsAsync(caller.call('nobody'), { code: 'INTERNAL' })
  await t.throwsAsync(caller.call('text', Symbol('no clone')), { message: /could not be cloned/ })
})

test('an abort crosses, and the caller gets its own reason back once the other side has ended', async (t) => {
  let ended = false
  const wait = async (signal: AbortSignal) => {
    await untilAborted(signal).catch(() => undefined)
    await sleep(20)
    ended = true
    throw signal.reason
  }
  const { caller } = ends(t, { wait })
  const stop = new AbortController()
  const reason = new WherryError('VOLUME_BUSY', 'a release goes first')
  const call = caller.call('wait', stop.signal)
  stop.abort(reason)
  t.is(await t.throwsAsync(call), reason)
  t.true(ended)
  t.is(
    await t.throwsAsync(caller.call('wait', stop.signal)),
    reason,
    'a signal that is aborted already crosses not at all',
  )
})

test('an answer that an abort comes too late for is an answer', async (t) => {
  const { caller } = ends(t, { finish: (signal: AbortSignal) => untilAborted(signal).catch(() => 'done') })
  const stop = new AbortController()
  const call = caller.call('finish', stop.signal)
  stop.abort()
  t.is(await call, 'done')
})

test('a function can be called from the other side, and all its calls arrive before the answer', async (t) => {
  const count = async (upTo: number, tell: (n: number) => void) => {
    for (let n = 1; n <= upTo; n++) tell(n)
    return 'counted'
  }
  const { caller } = ends(t, { count })
  const seen: number[] = []
  t.is(await caller.call('count', 3, (n: number) => seen.push(n)), 'counted')
  t.deepEqual(seen, [1, 2, 3])
})

test('both sides call each other, also from within an answer, and answers may overtake', async (t) => {
  const { port1, port2 } = new MessageChannel()
  t.teardown(() => port1.close())
  const one = new Line(port1, { slow: () => sleep(30, 'slow'), fast: () => 'fast' })
  const two: Line = new Line(port2, { both: () => Promise.all([two.call('slow'), two.call('fast')]) })
  const order: string[] = []
  const slow = two.call('slow').then(() => order.push('slow'))
  await two.call('fast').then(() => order.push('fast'))
  await slow
  t.deepEqual(order, ['fast', 'slow'])
  t.deepEqual(await one.call('both'), ['slow', 'fast'])
})

test('abortAll ends everything that can be aborted and waits for the rest', async (t) => {
  const { caller } = ends(t, { untilAborted, stubborn: () => sleep(50, 'finished') })
  const shutDown = new WherryError('INTERNAL', 'The agent shuts down.')
  const [aborted, stubborn] = [caller.call('untilAborted', new AbortController().signal), caller.call('stubborn')]
  const outcomes = Promise.allSettled([aborted, stubborn])
  await caller.abortAll(shutDown)
  const [first, second] = await outcomes
  t.is((first as PromiseRejectedResult).reason.message, shutDown.message)
  t.is((second as PromiseFulfilledResult<string>).value, 'finished')
})

test('a closed line rejects what waits and what comes, and aborts what it answers', async (t) => {
  const { caller, answerer } = ends(t, { untilAborted })
  const call = caller.call('untilAborted', new AbortController().signal)
  await sleep(10)
  const gone = new WherryError('INTERNAL', 'The other thread has died.')
  caller.close(gone)
  t.is(await t.throwsAsync(call), gone)
  t.is(await t.throwsAsync(caller.call('untilAborted')), gone)
  const back = answerer.call('anything')
  answerer.close(gone)
  t.is(await t.throwsAsync(back), gone)
})
