import { setTimeout as sleep } from 'node:timers/promises'
import { codeOf, type ErrorCode, WherryError } from '../agent/model/errors.ts'

/** Short enough to go unnoticed when the agent is back, long enough not to load a core. */
const RETRY_EVERY_MS = 100

/**
 * Calls the agent again while it fails with one of the `worthWaiting` codes, until `deadlineMs` from now has passed.
 * Then throws the last such error, also when the deadline cuts an attempt. All calls of the agent's API may be
 * repeated.
 * `attempt` gets the remaining time and a signal that aborts `graceMs` after the deadline: the agent should reply by
 * then itself, with the better error. It also learns whether an earlier attempt may have been carried out.
 */
export async function retryUntil<T>(
  limits: { deadlineMs: number; graceMs?: number; worthWaiting: readonly ErrorCode[]; signal: AbortSignal },
  attempt: (now: { leftMs: number; repeated: boolean; signal: AbortSignal }) => Promise<T>,
): Promise<T> {
  const startMs = performance.now()
  const leftMs = () => Math.max(0, Math.round(limits.deadlineMs - (performance.now() - startMs)))
  const overdue = AbortSignal.timeout(limits.deadlineMs + (limits.graceMs ?? 0))
  const signal = AbortSignal.any([limits.signal, overdue])
  let last: unknown
  for (let repeated = false; ; repeated = true) {
    try {
      return await attempt({ leftMs: leftMs(), repeated, signal })
    } catch (error) {
      limits.signal.throwIfAborted()
      const code = codeOf(error)
      if (overdue.aborted && code === undefined) throw last ?? tooSlow(limits.deadlineMs, error)
      if (code === undefined || !limits.worthWaiting.includes(code) || leftMs() <= RETRY_EVERY_MS) throw error
      last = error
    }
    await sleep(RETRY_EVERY_MS, undefined, { signal: limits.signal })
  }
}

function tooSlow(deadlineMs: number, cause: unknown): WherryError {
  return new WherryError('AGENT_UNAVAILABLE', `Wherry's agent did not answer within ${deadlineMs / 1_000} s.`, {
    hint: "Try again; if this lasts, look into the plugin's log.",
    cause,
  })
}
