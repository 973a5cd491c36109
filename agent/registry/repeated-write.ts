import { NatsError } from '../bus/nats.ts'
import { apiCode } from './api-code.ts'
import type { Versioned, Write } from './contract.ts'

/** NATS API error codes (nats-server's errors.json). */
const WRONG_LAST_SEQUENCE = 10071
/** From 2.11 on: another write to the same key is in flight. */
const WRONG_LAST_SEQUENCE_NOW = 10164

/**
 * Sends a compare-and-set, and the same again after each of `againAfterMs` while there is no reply.
 * At most one attempt can win, and any of them is this write. Ends with the first acknowledgement or the last attempt.
 * Only the first attempt can be refused: a later one may be refused because an earlier one won and its reply was lost.
 * `send` gets the time since the first attempt. Its rejection counts as no reply.
 */
export async function writeRepeatedly<V>(
  send: (afterMs: number) => Promise<Versioned<V>>,
  againAfterMs: readonly number[],
): Promise<Write<V>> {
  const repeats: NodeJS.Timeout[] = []
  const sendLater = (afterMs: number) =>
    new Promise<Write<V>>((resolve, reject) => {
      repeats.push(setTimeout(() => settle(() => send(afterMs)).then(resolve, reject), afterMs))
    })
  const first = settle(() => send(0))
  const isFinal = (write: Write<V>, nth: number) =>
    write.outcome === 'done' || (write.outcome === 'refused' && nth === 0)
  const final = [first, ...againAfterMs.map(sendLater)].map(async (sent, nth) => {
    const write = await sent
    return isFinal(write, nth) ? write : Promise.reject(new Error('no reply'))
  })
  try {
    return await Promise.any(final).catch(() => first)
  } finally {
    for (const timer of repeats) clearTimeout(timer)
  }
}

async function settle<V>(sending: () => Promise<Versioned<V>>): Promise<Write<V>> {
  try {
    return { outcome: 'done', entry: await sending() }
  } catch (error) {
    const code = apiCode(error)
    if (code === WRONG_LAST_SEQUENCE || code === WRONG_LAST_SEQUENCE_NOW) return { outcome: 'refused' }
    // Nothing was sent, and nothing ever can be.
    if (isTooLarge(error)) throw error
    return { outcome: 'unknown', cause: error as Error }
  }
}

/** Whether a message was larger than the server takes. */
export function isTooLarge(error: unknown): boolean {
  return error instanceof NatsError && error.code === 'MAX_PAYLOAD_EXCEEDED'
}
