import type { Context } from './context.ts'
import type { NamedVolume, VolumeTroubles } from './volume-troubles.ts'

/** How failures of a step are repeated: by volume and reason. */
export interface Pace<T> {
  readonly troubles: VolumeTroubles
  readonly step: string
  readonly volumeOf: (item: T) => NamedVolume
}

/** Returns the pace of a step whose items are volumes themselves. */
export function paceOf(context: Pick<Context, 'volumeTroubles'>, step: string): Pace<NamedVolume> {
  return { troubles: context.volumeTroubles, step, volumeOf: (volume) => volume }
}

/**
 * Works on one volume after another: a failure keeps no other volume waiting.
 * Rejects with the first failure once all were tried.
 * `pace`: a volume whose work failed is passed over until its next try is due, and only a new reason is thrown.
 * Null: each call tries all of them, because this step is not done with before it has succeeded.
 */
export async function forEachVolume<T>(
  items: readonly T[],
  work: (item: T) => Promise<void>,
  pace: Pace<T> | null,
): Promise<void> {
  const failures: unknown[] = []
  for (const item of items) {
    const volume = pace?.volumeOf(item)
    if (pace === null || volume === undefined) await work(item).catch((error: unknown) => failures.push(error))
    else if (pace.troubles.isDue(volume.id, pace.step)) {
      await work(item).then(
        () => pace.troubles.clear(volume.id, pace.step),
        (error: unknown) => {
          if (pace.troubles.note(volume, pace.step, error)) failures.push(error)
        },
      )
    }
  }
  if (failures.length > 0) throw failures[0]
}
