import { stat } from 'node:fs/promises'

/** Returns identity, size and times of files as one string. It changes when one is replaced or written to. */
export async function stampOf(paths: readonly string[]): Promise<string> {
  const stamps = paths.map(async (path) => {
    const found = await stat(path, { bigint: true }).catch(() => undefined)
    return found === undefined ? 'none' : [found.ino, found.size, found.mtimeNs, found.ctimeNs].join(':')
  })
  return (await Promise.all(stamps)).join(' ')
}

/**
 * Calls `changed` after files were replaced or written to since `known` (see `stampOf`).
 * Files that belong together are copied one after the other: it waits until two polls in a row find the same.
 * Disposing ends that and waits for a running call. `changed` must not reject.
 */
export function watchFiles(
  paths: readonly string[],
  known: string,
  everyMs: number,
  changed: () => Promise<void> | void,
): AsyncDisposable {
  let read = known
  let seen = known
  let polling: Promise<void> | undefined
  const poll = async () => {
    const now = await stampOf(paths)
    const isSettled = now === seen
    seen = now
    if (!isSettled || now === read) return
    read = now
    await changed()
  }
  const timer = setInterval(() => {
    polling ??= poll().finally(() => {
      polling = undefined
    })
  }, everyMs)
  timer.unref()
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await polling
    },
  }
}
