import { setTimeout as sleep } from 'node:timers/promises'

/** Far above what anything here takes, also where many processes start side by side. */
const TIMEOUT_MS = 60_000
const LOOK_EVERY_MS = 5

/** Looks again until it is so; rejects when it is not so for a minute. */
export async function untilTrue(isSo: () => boolean | Promise<boolean>): Promise<void> {
  const startMs = performance.now()
  while (!(await isSo())) {
    if (performance.now() - startMs > TIMEOUT_MS) throw new Error(`not so after ${TIMEOUT_MS} ms: ${isSo}`)
    await sleep(LOOK_EVERY_MS)
  }
}
