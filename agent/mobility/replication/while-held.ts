import type { VolumeRecord } from '../../model/model.ts'
import { rejectOnAbort } from '../../runtime/abort.ts'
import type { Wakeups } from '../context.ts'
import type { Dependencies } from '../dependencies.ts'
import { movedMeanwhile } from './errors.ts'

type Watching = { readonly dependencies: Pick<Dependencies, 'registry' | 'clock'>; readonly wakeups: Wakeups }

/**
 * Runs `work` until its end, or until the registry shows the volume in other hands than those of `record` (its epoch and holder): then rejects
 * VOLUME_HELD_ELSEWHERE. The registry is looked at after wakeups and every `lookMs`; one that is away changes nothing.
 */
export async function whileHeld<T>(
  { dependencies, wakeups }: Watching,
  record: VolumeRecord,
  lookMs: number,
  signal: AbortSignal,
  work: (until: AbortSignal) => Promise<T>,
): Promise<T> {
  const ended = new AbortController()
  const moved = new AbortController()
  const until = AbortSignal.any([signal, ended.signal, moved.signal])
  const watching = watch({ dependencies, wakeups }, record, lookMs, moved, until)
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
  lookMs: number,
  moved: AbortController,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    await wakeups.wait(name, (until) => dependencies.clock.sleep(lookMs, until), signal)
    if (signal.aborted) return
    const entry = await rejectOnAbort(dependencies.registry.volume(name), signal).catch(() => undefined)
    // A read may be stale: an older epoch says nothing.
    if (entry === undefined || (entry !== null && entry.value.epoch < epoch)) continue
    if (entry?.value.holder?.incarnation !== holder?.incarnation) moved.abort()
  }
}
