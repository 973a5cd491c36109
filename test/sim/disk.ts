import type { Checkpoint } from '../../agent/model/model.ts'
import type { LocalCopy, RemovedCopy } from '../../agent/store/contract.ts'
import { bareCopy } from '../../agent/store/disk/new-copy.ts'
import type { Chance } from './random.ts'
import { EMPTY, type Entry, type Tree } from './tree.ts'

/** One copy as it lies on a disk. */
export interface Shelf {
  record: LocalCopy
  /** What a reader of the tree sees now. */
  tree: Tree
  /** What of it survives a power cut. */
  synced: Tree
  /** What the kept manifest of the last quiet capture or apply says; null: there was none. */
  kept: Tree | null
  /** What the kept manifest of the last live capture says; null: none since the last quiet one. */
  live: Tree | null
  /** The checkpoint whose spool is here; null: the volume is at rest, or was looked at for a release. */
  spooled: Tree | null
  /** What `spoolFreeze` has frozen and nobody has captured yet; does not survive the agent. */
  frozen: Tree | null
  /** What `spoolLast` captured and nobody has committed yet; does not survive the agent. */
  captured: Tree | null
  /** What was captured outside of the state directory; does not survive the agent. */
  aside: Tree | null
  /** What was received; null: nothing. */
  staged: Tree | null
  /** A committed apply that has not ended. */
  journal: { readonly checkpoint: Checkpoint; readonly target: Tree } | null
  readonly diverged: Tree[]
}

/** A copy of a removed volume. */
interface Removed {
  readonly id: string
  readonly name: string
  readonly tree: Tree
  readonly diverged: readonly Tree[]
}

/** After every run. */
const KEPT_UNTIL = '2999-01-01T00:00:00.000Z'

export interface DiskWatch {
  /** A tree is about to be replaced or removed. */
  readonly replaced: (host: string, id: string, before: Tree, after: Tree | null, why: string) => void
  readonly recordChanged: (host: string, before: LocalCopy, after: LocalCopy) => void
}

/** A host's disk, and what its kernel has mounted. It outlives agents; a power cut leaves what was synced. */
export class Disk {
  readonly host: string
  readonly shelves = new Map<string, Shelf>()
  readonly trash: Removed[] = []
  /** Copies of volumes that were removed while this host was given up. */
  readonly aside: Removed[] = []
  readonly mounted = new Set<string>()
  readonly watch: DiskWatch
  readonly #chance: Chance
  /** Multiplies how long everything takes. */
  slowness = 1
  full = false
  /** An error made it read-only: what was written before can be read. */
  readOnly = false
  /** Ids of volumes whose records cannot be read. */
  readonly unreadable = new Set<string>()
  /** Ids of volumes whose tree no capture can say. */
  readonly odd = new Set<string>()
  /** Called when the record of a copy has changed: faults wait for a moment so. */
  trap: ((before: LocalCopy, after: LocalCopy) => void) | null = null

  constructor(host: string, chance: Chance, watch: DiskWatch) {
    this.host = host
    this.#chance = chance
    this.watch = watch
  }

  shelf(id: string): Shelf | undefined {
    return this.shelves.get(id)
  }

  create(volume: Pick<LocalCopy, 'id' | 'name' | 'options'>): LocalCopy {
    const known = this.shelves.get(volume.id)
    if (known !== undefined) return known.record
    const record = bareCopy(volume)
    const kept = { kept: null, live: null, spooled: null, frozen: null, captured: null, aside: null }
    const trees = { tree: EMPTY, synced: EMPTY, staged: null, journal: null }
    this.shelves.set(volume.id, { record, ...trees, ...kept, diverged: [] })
    return record
  }

  update(shelf: Shelf, change: Partial<Omit<LocalCopy, 'id'>>): LocalCopy {
    const before = shelf.record
    const epochSeen = Math.max(before.epochSeen, change.epochSeen ?? 0)
    shelf.record = { ...before, ...change, id: before.id, epochSeen }
    this.watch.recordChanged(this.host, before, shelf.record)
    this.trap?.(before, shelf.record)
    return shelf.record
  }

  /** A container writes. Answers whether the record is safe already; it is after the next write at the latest. */
  append(id: string, entry: Entry): Tree | null {
    const shelf = this.shelves.get(id)
    if (shelf === undefined || this.full || this.readOnly) return null
    this.sync(shelf)
    shelf.tree = shelf.tree.append(entry)
    if (this.#chance.hit(0.7)) this.sync(shelf)
    return shelf.tree
  }

  /** What was written is safe now, and the client hears of it. */
  sync(shelf: Shelf): void {
    shelf.synced = shelf.tree
    shelf.tree.acked = true
  }

  replace(shelf: Shelf, target: Tree, why: string): void {
    this.watch.replaced(this.host, shelf.record.id, shelf.tree, target, why)
    this.odd.delete(shelf.record.id)
    shelf.tree = target
    shelf.synced = target
    this.keep(shelf, target)
    this.dropSpool(shelf)
  }

  /** A tree is the last one from now on. */
  keep(shelf: Shelf, tree: Tree | null): void {
    shelf.kept = tree
    shelf.live = null
  }

  dropSpool(shelf: Shelf): void {
    shelf.spooled = null
    shelf.frozen = null
    shelf.captured = null
  }

  remove(id: string): void {
    const shelf = this.shelves.get(id)
    if (shelf === undefined) return
    this.watch.replaced(this.host, id, shelf.tree, null, 'trash')
    this.trash.push({ id, name: shelf.record.name, tree: shelf.tree, diverged: shelf.diverged })
    this.shelves.delete(id)
  }

  setAside(id: string): string {
    const shelf = this.shelves.get(id)
    if (shelf === undefined) throw new Error(`${this.host} has no copy ${id} to set aside`)
    this.aside.push({ id, name: shelf.record.name, tree: shelf.tree, diverged: shelf.diverged })
    this.shelves.delete(id)
    return `set-aside/${id}`
  }

  leftOvers(): RemovedCopy[] {
    const named = (where: string, until: string | null) => (one: Removed) => {
      return { id: one.id, name: one.name, directory: `${where}/${one.id}`, until }
    }
    return [...this.trash.map(named('trash', KEPT_UNTIL)), ...this.aside.map(named('set-aside', null))]
  }

  /** The agent's process is gone. */
  agentEnded(): void {
    for (const shelf of this.shelves.values()) {
      shelf.frozen = null
      shelf.captured = null
      shelf.aside = null
    }
  }

  powerCut(): void {
    this.agentEnded()
    this.mounted.clear()
    for (const shelf of this.shelves.values()) {
      if (shelf.tree !== shelf.synced && this.#chance.hit(0.5)) shelf.tree = shelf.synced
      this.sync(shelf)
      if (this.#chance.hit(0.5)) shelf.staged = null
    }
  }
}
