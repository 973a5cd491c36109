import type { Checkpoint, VolumeRecord } from '../../agent/model/model.ts'

type Named = Pick<Checkpoint, 'epoch' | 'seq' | 'hash'>

/** Every checkpoint that was ever named on a disk or in a record. No name may stand for two contents (promise 14). */
export class CheckpointNames {
  readonly #hashes = new Map<string, string>()
  readonly #forged = new Set<string>()

  /** An older release has left that on a disk: it may stand there, and in a copy's entry. */
  forge(volume: string, { epoch, seq, hash }: Named): void {
    this.#forged.add(`${volume} ${epoch}.${seq} ${hash}`)
  }

  /**
   * Notes a name. Returns what it stood for before, if that was something else. `isLine`: the volume continues from it.
   */
  clash(volume: string, { epoch, seq, hash }: Named, isLine: boolean): string | null {
    const key = `${volume} ${epoch}.${seq}`
    if (!isLine && this.#forged.has(`${key} ${hash}`)) return null
    const known = this.#hashes.get(key)
    if (known === undefined) this.#hashes.set(key, hash)
    return known === undefined || known === hash ? null : known
  }
}

/** The checkpoints that the volume continued from, by its record. */
export function lineOf({ last, seizures }: VolumeRecord): Named[] {
  return [...(last === null ? [] : [last]), ...seizures.map(({ base }) => base)]
}

/** The checkpoints that copies have, by the record. */
export function entriesOf({ copies }: VolumeRecord): Named[] {
  return Object.values(copies).flatMap(({ epoch, seq, checkpoint }) =>
    checkpoint?.epoch === epoch && checkpoint.seq === seq ? [checkpoint] : [],
  )
}
