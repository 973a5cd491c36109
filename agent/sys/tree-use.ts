import { existsSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import type { TreeScan, TreeUse } from './tree-scan.ts'

export type { MountPlace, TreeUse, TreeUser } from './tree-scan.ts'

/** Where the plugin has the host's processes (config.json). Elsewhere this process sees them itself. */
const HOST_PROC = existsSync('/host/proc/1') ? '/host/proc' : '/proc'
/** The kernel responds within microseconds, or makes the caller wait for the inspected process. */
const HUNG_MS = 2_000
/** A thread takes 10 MB. Scans that belong together follow within seconds. */
const KEPT_MS = 30_000

/** A thread that inspects processes. */
interface Scanner {
  readonly worker: Worker
  /** The process it inspects (0: none), and its number of questions so far. */
  readonly at: Int32Array
}

/** Kept for the next scan: starting a thread takes longer than scanning. */
let idle: Scanner | null = null
let end: NodeJS.Timeout | undefined
let scans: Promise<unknown> = Promise.resolve()
/** Processes that did not let themselves be inspected. Abandoned threads wait for them. */
const hung = new Set<number>()

/**
 * Finds all mounts of a directory tree, or of parts of it, in all mount namespaces of the host, and its users.
 * Users are other processes that have a file of it open: through such a mount, through one that is in no namespace
 * any more, or otherwise. A process that may not be inspected is skipped, and before Linux 5.14 so are files open
 * through a mount in no namespace. Returns nothing for a missing directory.
 * A process that waits for a file system's server while it holds its memory map blocks whoever inspects it, perhaps
 * for ever. So a thread of its own inspects. If it does not progress for seconds it is abandoned, and the process is
 * skipped until that thread progresses.
 */
export async function findTreeUse(directory: string, proc = HOST_PROC): Promise<TreeUse> {
  const found = scans.then(() => scanUntilDone(directory, proc))
  scans = found.catch(() => undefined)
  return await found
}

async function scanUntilDone(directory: string, proc: string): Promise<TreeUse> {
  for (;;) {
    clearTimeout(end)
    const scanner = idle ?? start()
    idle = null
    scanner.worker.ref()
    const use = await scan(scanner, { directory, proc, passedOver: [...hung] })
    scanner.worker.unref()
    if (use === null) {
      leave(scanner)
      continue
    }
    keep(scanner)
    return use
  }
}

function keep(scanner: Scanner): void {
  idle = scanner
  end = setTimeout(() => {
    idle = null
    void scanner.worker.terminate()
  }, KEPT_MS).unref()
}

function start(): Scanner {
  const at = new Int32Array(new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT))
  return { worker: new Worker(new URL(import.meta.resolve('#tree-scan-thread')), { workerData: at }), at }
}

/** Null: a process does not let itself be inspected. */
async function scan({ worker, at }: Scanner, what: TreeScan): Promise<TreeUse | null> {
  const ended = new AbortController()
  try {
    return await new Promise<TreeUse | null>((resolve, reject) => {
      let before = -1
      const watch = setInterval(() => {
        const asked = Atomics.load(at, 1)
        if (asked === before && Atomics.load(at, 0) !== 0) resolve(null)
        before = asked
      }, HUNG_MS)
      const failed = (error: unknown) => reject(error instanceof Error ? error : new Error('the thread has ended'))
      const handlers = { message: resolve, error: failed, exit: failed }
      for (const [event, handler] of Object.entries(handlers)) worker.on(event, handler)
      ended.signal.addEventListener('abort', () => {
        clearInterval(watch)
        for (const [event, handler] of Object.entries(handlers)) worker.off(event, handler)
      })
      worker.postMessage(what)
    })
  } finally {
    ended.abort()
  }
}

function leave({ worker, at }: Scanner): void {
  const pid = Atomics.load(at, 0)
  hung.add(pid)
  worker.once('exit', () => hung.delete(pid))
  worker.once('message', () => void worker.terminate())
}
