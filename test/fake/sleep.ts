import type { TimelineEvent } from './timeline.ts'

/** Resolves at an event that `plan` plans, or as soon as `signal` aborts. */
export function sleepFor(plan: (wake: () => void) => TimelineEvent, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    const event = plan(() => {
      signal.removeEventListener('abort', onAbort)
      resolve()
    })
    const onAbort = () => {
      event.cancel()
      resolve()
    }
    signal.addEventListener('abort', onAbort, { once: true })
  })
}

/** Returns a signal that aborts at an event that `plan` plans. */
export function deadlineAt(plan: (end: () => void) => TimelineEvent): AbortSignal {
  const controller = new AbortController()
  plan(() => controller.abort())
  return controller.signal
}
