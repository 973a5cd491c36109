import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { WherryError } from '../../../agent/model/errors.ts'
import { retryUntil } from '../../../plugin/retry.ts'

const never = new AbortController().signal
const worthWaiting = ['AGENT_UNAVAILABLE'] as const

/** An attempt that ends with its signal only. */
async function hang(signal: AbortSignal): Promise<never> {
  await sleep(60_000, undefined, { signal }).catch(() => undefined)
  throw signal.reason
}

test('an attempt that the deadline cuts does not hide why those before it failed', async (t) => {
  const limits = { deadlineMs: 300, worthWaiting, signal: never }
  const calling = retryUntil(limits, async ({ repeated, signal }) => {
    if (!repeated) throw new WherryError('AGENT_UNAVAILABLE', 'It is not running.')
    return await hang(signal)
  })
  await t.throwsAsync(calling, { message: 'It is not running.' })
})

test('a deadline that cuts the only attempt is the reason itself', async (t) => {
  const calling = retryUntil({ deadlineMs: 100, worthWaiting, signal: never }, ({ signal }) => hang(signal))
  await t.throwsAsync(calling, { code: 'AGENT_UNAVAILABLE', message: /did not answer within 0\.1 s/ })
})
