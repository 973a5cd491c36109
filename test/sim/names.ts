import type { Checkpoint, VolumeRecord } from '../../agent/model/model.ts'

type Named = Pick<Checkpoint, 'epoch' | 'seq' | 'hash'>

/** Every checkpoint that was ever named on a disk or in a record: no name may stand for two contents (promise 14). */
export class Names {
  readonly #hashes = new Map<string, string>()
  readonly #forged = new Set<string>()

  /** An older release has left that on a disk: it may stand there, and in a copy's entry. */
  forge(volume: string, { epoch, seq, hash }: Named): void {
    this.#forged.add(`${volume} ${epoch}.${seq} ${hash}`)
  }

  /**
   * Takes a name in; answers what it stood for before, if that was something else. `isLine`: the volume goes on from
   * it.
   */
  clash(volume: string, { epoch, seq, hash }: Named, isLine: boolean): string | null {
    const key = `${volume} ${epoch}.${seq}`
    if (!isLine && this.#forged.has(`${key} ${hash}`)) return null
    const known = this.#hashes.get(key)
    if (known === undefined) this.#hashes.set(key, hash)
    return known === undefined || known === hash ? null : known
  }
}

/** The checkpoints that a record says the volume went on from. */
export function lineOf({ last, seizures }: VolumeRecord): Named[] {
  return [...(last === null ? [] : [last]), ...seizures.map(({ base }) => base)]
}

/** Those that it says copies have. */
export function entriesOf({ copies }: VolumeRecord): Named[] {
  return Object.values(copies).flatMap(({ epoch, seq, checkpoint }) =>
    checkpoint?.epoch === epoch && checkpoint.seq === seq ? [checkpoint] : [],
  )
}
