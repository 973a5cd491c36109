import type { VolumeRecord } from '../../agent/model/model.ts'
import { EMPTY, type Tree } from './tree.ts'

/** What is true of one volume, whoever knows it. */
export class VolumeTruth {
  readonly name: string
  /** What the registry had last; it stands here also when the registry itself has lost it. */
  record: VolumeRecord
  /** Of the newest hold. A host that has released may not have written that down, and then says that it holds. */
  incarnation: string | null = null
  /** The record was deleted after it had been marked: the volume is over for good. */
  removed = false
  /** Content as the cluster goes on from: what its rightful holder has written. */
  head: Tree = EMPTY
  /** Every tree that ever was, by hash. */
  readonly trees = new Map<string, Tree>([[EMPTY.hash, EMPTY]])
  /** Newest first: what was once the registry's `last`. */
  readonly committed: Tree[] = []
  /** What was given up by seizures: it has to lie on the old holder's disk until a person removes it. Host null: on some disk. */
  readonly abandoned: { readonly host: string | null; readonly tree: Tree }[] = []
  /** What its lost holder had when it was removed: that has to be set aside there. */
  givenUp: { readonly host: string; readonly tree: Tree } | null = null
  /** Hosts that may go on writing although a person made the volume go on elsewhere (on_isolation=continue), and what they have written. */
  readonly forks = new Map<string, Tree>()
  /**
   * Hosts without which a person went on or removed it, with a loss, while no other copy was known: nothing had to be
   * fenced for that.
   */
  readonly unguarded = new Set<string>()
  lastChangedMs = 0

  constructor(record: VolumeRecord) {
    this.name = record.name
    this.record = record
  }

  get isOver(): boolean {
    return this.removed || this.record.removedAt !== null
  }

  /** Whoever held it last is not its holder any more: what it wrote on its own has to stay. */
  endFork(host: string): void {
    const tree = this.forks.get(host)
    if (tree === undefined) return
    this.abandoned.push({ host, tree })
    this.forks.delete(host)
  }
}

/** All volumes that ever were, by id. */
export class Truths {
  readonly all = new Map<string, VolumeTruth>()
  /** When a volume of that name was made anew, or its record: a stale read may know of none for some time after. */
  readonly madeMs = new Map<string, number>()
  readonly #byName = new Map<string, VolumeTruth>()

  /** Volumes of a name that a registry without tombstones says nothing against. */
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

  /** The volume is the one of its name again. */
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
