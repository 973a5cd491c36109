import { Worker } from 'node:worker_threads'
import type { MountPlace } from './tree-use.ts'

/** `busy`: something can write through one of the mounts. Else an error's message. */
export type ReadOnlyOutcome = 'read-only' | 'busy' | { readonly failed: string }

/**
 * Makes mounts of several mount namespaces read-only, whoever has them open for reading: nobody can write through them
 * from then on, through files that are open neither. The kernel refuses where something is open for writing; then all
 * are as they were before. A thread of its own enters the namespaces, and ends.
 */
export async function makeReadOnly(places: readonly MountPlace[]): Promise<ReadOnlyOutcome> {
  const worker = new Worker(new URL('./read-only-thread.ts', import.meta.url), { workerData: places })
  return await new Promise<ReadOnlyOutcome>((resolve) => {
    worker.once('message', resolve)
    worker.once('error', (error) => resolve({ failed: String(error) }))
    worker.once('exit', () => resolve({ failed: 'the thread ended without an answer' }))
  })
}
