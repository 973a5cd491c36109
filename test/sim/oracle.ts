import type { VolumeRecord } from '../../agent/model/model.ts'
import { EMPTY, type Tree } from './tree.ts'

/** What is true of one volume, whoever knows of it. */
export class VolumeTruth {
  readonly name: string
  /** The newest record, also when the registry itself has lost it. */
  record: VolumeRecord
  /**
   * Incarnation of the newest hold. A host that has released may not have written that down, and then reports the hold.
   */
  incarnation: string | null = null
  /** The record was deleted after it had been marked: the volume is over for good. */
  removed = false
  /** The content that the cluster continues from: what its rightful holder has written. */
  head: Tree = EMPTY
  /** Every tree that ever was, by hash. */
  readonly trees = new Map<string, Tree>([[EMPTY.hash, EMPTY]])
  /** Newest first: what was once the registry's `last`. */
  readonly committed: Tree[] = []
  /**
   * Trees that take-overs gave up: they stay on the old holder's disk until an operator removes them. Host null: on
   * some disk.
   */
  readonly abandoned: { readonly host: string | null; readonly tree: Tree }[] = []
  /** Idle trees that somebody took a record out of, and could not put it back: Wherry had replaced or moved them. */
  readonly takenOut: { readonly host: string; readonly left: Tree; readonly whole: Tree }[] = []
  /** The tree of the lost holder when the volume was removed: it has to be set aside there. */
  givenUp: { readonly host: string; readonly tree: Tree } | null = null
  /**
   * Hosts that may carry on writing after a promotion elsewhere (on_isolation=continue), and what they have written.
   */
  readonly forks = new Map<string, Tree>()
  /** Hosts that an operator gave up with a loss while no other copy was known. Nothing had to be fenced for that. */
  readonly unguarded = new Set<string>()
  lastChangedMs = 0

  constructor(record: VolumeRecord) {
    this.name = record.name
    this.record = record
  }

  get isOver(): boolean {
    return this.removed || this.record.removedAt !== null
  }

  /** The host does not hold it any more: what it wrote on its own has to stay. */
  endFork(host: string): void {
    const tree = this.forks.get(host)
    if (tree === undefined) return
    this.abandoned.push({ host, tree })
    this.forks.delete(host)
  }
}

/** All volumes that ever were, by id. */
export class Oracle {
  readonly all = new Map<string, VolumeTruth>()
  /** When a volume of that name, or its record, was made anew: a stale read may miss it for some time. */
  readonly madeMs = new Map<string, number>()
  readonly #byName = new Map<string, VolumeTruth>()

  /** Volumes of a name that were not removed, as far as a registry without tombstones knows. */
  standing(name: string): readonly VolumeTruth[] {
    return [...this.all.values()].filter((truth) => truth.name === name && !truth.isOver)
  }

  of(id: string): VolumeTruth | undefined {
    return this.all.get(id)
  }

  /** The newest volume of a name, also after it was removed. */
  named(name: string): VolumeTruth | undefined {
    return this.#byName.get(name)
  }

  /** Gives the volume its name again. */
  rename(truth: VolumeTruth): void {
    this.#byName.set(truth.name, truth)
  }

  add(record: VolumeRecord): VolumeTruth {
    const truth = new VolumeTruth(record)
    this.all.set(record.id, truth)
    this.#byName.set(record.name, truth)
    return truth
  }
}
