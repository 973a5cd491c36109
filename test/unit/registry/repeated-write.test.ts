import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { NatsError } from '../../../agent/bus/nats.ts'
import type { Versioned } from '../../../agent/registry/contract.ts'
import { writeRepeatedly } from '../../../agent/registry/repeated-write.ts'

const AGAIN_AFTER_MS = [50, 100]
const DONE: Versioned<string> = { value: 'v', revision: 7 }

const refusal = () =>
  Object.assign(new NatsError('wrong last sequence', '400'), { api_error: { err_code: 10071, code: 400 } })

/** Answers each sending in turn: with what it says, so many ms after it was sent. */
function answering(answers: readonly { readonly ms: number; readonly with: Versioned<string> | Error }[]) {
  const sent: number[] = []
  const send = async (afterMs: number) => {
    const answer = answers[sent.push(afterMs) - 1]
    if (answer === undefined) throw new Error('sent too often')
    await sleep(answer.ms)
    if (answer.with instanceof Error) throw answer.with
    return answer.with
  }
  return { sent, send }
}

test('a write that is acknowledged is sent once', async (t) => {
  const { sent, send } = answering([{ ms: 1, with: DONE }])
  t.deepEqual(await writeRepeatedly(send, AGAIN_AFTER_MS), { outcome: 'done', entry: DONE })
  await sleep(150)
  t.deepEqual(sent, [0])
})

test('a write that was lost without a word is sent again, and counts as soon as that is acknowledged', async (t) => {
  const { sent, send } = answering([
    { ms: 300, with: new Error('timeout') },
    { ms: 1, with: DONE },
  ])
  const startMs = performance.now()
  t.deepEqual(await writeRepeatedly(send, AGAIN_AFTER_MS), { outcome: 'done', entry: DONE })
  t.true(performance.now() - startMs < 290)
  t.deepEqual(sent, [0, 50])
})

test('a refusal of the first sending is one', async (t) => {
  const { sent, send } = answering([{ ms: 1, with: refusal() }])
  t.deepEqual(await writeRepeatedly(send, AGAIN_AFTER_MS), { outcome: 'refused' })
  t.deepEqual(sent, [0])
})

test('promise 1: a refusal of a later sending does not say that the write was lost: the first one may have been stored', async (t) => {
  const late = answering([
    { ms: 120, with: DONE },
    { ms: 1, with: refusal() },
    { ms: 1, with: refusal() },
  ])
  t.deepEqual(await writeRepeatedly(late.send, AGAIN_AFTER_MS), { outcome: 'done', entry: DONE })
  const lost = answering([
    { ms: 120, with: new Error('timeout') },
    { ms: 1, with: refusal() },
    { ms: 1, with: refusal() },
  ])
  t.like(await writeRepeatedly(lost.send, AGAIN_AFTER_MS), { outcome: 'unknown' })
})

test('a write that nobody answers is unknown', async (t) => {
  const silence = { ms: 1, with: new Error('timeout') }
  const { sent, send } = answering([silence, silence, silence])
  t.like(await writeRepeatedly(send, AGAIN_AFTER_MS), { outcome: 'unknown' })
  t.deepEqual(sent, [0, 50, 100])
})

test('a write that is too large for the registry is an error', async (t) => {
  const tooLarge = { ms: 1, with: new NatsError('too large', 'MAX_PAYLOAD_EXCEEDED') }
  const { send } = answering([tooLarge, tooLarge, tooLarge])
  await t.throwsAsync(writeRepeatedly(send, AGAIN_AFTER_MS), { code: 'MAX_PAYLOAD_EXCEEDED' })
})
