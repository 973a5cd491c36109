import { Worker } from 'node:worker_threads'
import type { MountPlace } from './tree-use.ts'

/** `busy`: something can write through one of the mounts. Otherwise an error's message. */
export type ReadOnlyOutcome = 'read-only' | 'busy' | { readonly failed: string }

/**
 * Makes mounts of several mount namespaces read-only, even while they are open for reading.
 * No one can write through them afterwards, also not through files that are open.
 * The kernel refuses where a file is open for writing; all mounts are then as before.
 * A thread of its own enters the namespaces, and ends.
 */
export function makeReadOnly(places: readonly MountPlace[]): Promise<ReadOnlyOutcome> {
  return change(places, true)
}

/** Undoes `makeReadOnly` for the mounts that were writable. A namespace that has ended is skipped. */
export async function makeWritable(places: readonly MountPlace[]): Promise<void> {
  for (const place of places) await change([place], false)
}

async function change(places: readonly MountPlace[], isReadOnly: boolean): Promise<ReadOnlyOutcome> {
  const workerData = { places, isReadOnly }
  const worker = new Worker(new URL(import.meta.resolve('#read-only-thread')), { workerData })
  return await new Promise<ReadOnlyOutcome>((resolve) => {
    worker.once('message', resolve)
    worker.once('error', (error) => resolve({ failed: String(error) }))
    worker.once('exit', () => resolve({ failed: 'the thread ended without an answer' }))
  })
}
