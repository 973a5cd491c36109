import { Worker } from 'node:worker_threads'
import type { MountPlace } from './tree-use.ts'

/** `busy`: something can write through one of the mounts. Else an error's message. */
export type ReadOnlyOutcome = 'read-only' | 'busy' | { readonly failed: string }

/**
 * Makes mounts of several mount namespaces read-only, whoever has them open for reading: nobody can write through them
 * from then on, through files that are open neither. The kernel refuses where something is open for writing; then all
 * are as they were before. A thread of its own enters the namespaces, and ends.
 */
export function makeReadOnly(places: readonly MountPlace[]): Promise<ReadOnlyOutcome> {
  return change(places, true)
}

/** Takes back what `makeReadOnly` did to the mounts that were writable. A namespace that has ended meanwhile is none. */
export async function makeWritable(places: readonly MountPlace[]): Promise<void> {
  for (const place of places) await change([place], false)
}

async function change(places: readonly MountPlace[], isReadOnly: boolean): Promise<ReadOnlyOutcome> {
  const workerData = { places, isReadOnly }
  const worker = new Worker(new URL('./read-only-thread.ts', import.meta.url), { workerData })
  return await new Promise<ReadOnlyOutcome>((resolve) => {
    worker.once('message', resolve)
    worker.once('error', (error) => resolve({ failed: String(error) }))
    worker.once('exit', () => resolve({ failed: 'the thread ended without an answer' }))
  })
}
