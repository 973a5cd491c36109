/**
 * Returns what `promise` resolves to, unless `signal` aborts first: then rejects with its reason.
 * The later result of `promise` is dropped.
 */
export function rejectOnAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return race<T, never>(promise, signal, ({ reject }) => reject(signal.reason))
}

/** Like `rejectOnAbort`, but returns null when `signal` aborts first. */
export function nullOnAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T | null> {
  return race<T, null>(promise, signal, ({ resolve }) => resolve(null))
}

async function race<T, A>(
  promise: Promise<T>,
  signal: AbortSignal,
  settle: (aborted: PromiseWithResolvers<A>) => void,
): Promise<T | A> {
  const aborted = Promise.withResolvers<A>()
  const onAbort = () => settle(aborted)
  signal.addEventListener('abort', onAbort, { once: true })
  if (signal.aborted) onAbort()
  try {
    return await Promise.race([promise, aborted.promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
    promise.catch(() => undefined)
  }
}
