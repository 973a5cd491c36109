import { setTimeout as sleep } from 'node:timers/promises'

export interface PollOptions {
  readonly timeoutMs?: number
  readonly everyMs?: number
}

/**
 * Asks again and again until `probe` returns something other than undefined, null or false, and returns that. Rejects
 * naming `what` after the time limit, with the last error of `probe` as the cause.
 */
export async function until<T>(
  what: string,
  probe: () => Promise<T | undefined | null | false> | T | undefined | null | false,
  { timeoutMs = 60_000, everyMs = 100 }: PollOptions = {},
): Promise<T> {
  const deadline = performance.now() + timeoutMs
  let cause: unknown
  while (performance.now() < deadline) {
    try {
      const answer = await probe()
      if (answer !== undefined && answer !== null && answer !== false) return answer
      cause = undefined
    } catch (error) {
      cause = error
    }
    await sleep(everyMs)
  }
  const reason = cause instanceof Error ? `: ${cause.message}` : ''
  throw new Error(`${what}: not within ${timeoutMs} ms${reason}`, { cause })
}
