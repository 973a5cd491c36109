import type { VolumeRecord } from '../../model/model.ts'
import { rejectOnAbort } from '../../runtime/abort.ts'
import type { Wakeups } from '../context.ts'
import type { Dependencies } from '../dependencies.ts'
import { movedMeanwhile } from './errors.ts'

type Watching = { readonly dependencies: Pick<Dependencies, 'registry' | 'clock'>; readonly wakeups: Wakeups }

/**
 * Runs `work` until its end, or until the registry shows another epoch or holder than `record`.
 * Rejects VOLUME_HELD_ELSEWHERE then. The record is read after wakeups and every `pollMs`; an outage changes nothing.
 */
export async function whileHeld<T>(
  { dependencies, wakeups }: Watching,
  record: VolumeRecord,
  pollMs: number,
  signal: AbortSignal,
  work: (until: AbortSignal) => Promise<T>,
): Promise<T> {
  const ended = new AbortController()
  const moved = new AbortController()
  const until = AbortSignal.any([signal, ended.signal, moved.signal])
  const watching = watch({ dependencies, wakeups }, record, pollMs, moved, until)
  try {
    return await work(until)
  } catch (error) {
    if (signal.aborted || !moved.signal.aborted) throw error
    throw movedMeanwhile(record.name, error)
  } finally {
    ended.abort()
    await watching
  }
}

async function watch(
  { dependencies, wakeups }: Watching,
  { name, epoch, holder }: VolumeRecord,
  pollMs: number,
  moved: AbortController,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    await wakeups.wait(name, (until) => dependencies.clock.sleep(pollMs, until), signal)
    if (signal.aborted) return
    const entry = await rejectOnAbort(dependencies.registry.volume(name), signal).catch(() => undefined)
    // A read may be stale: an older epoch proves nothing.
    if (entry === undefined || (entry !== null && entry.value.epoch < epoch)) continue
    if (entry?.value.holder?.incarnation !== holder?.incarnation) moved.abort()
  }
}
