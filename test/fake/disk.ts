import type { Checkpoint } from '../../agent/model/model.ts'
import type { LocalCopy, RemovedCopy } from '../../agent/store/contract.ts'
import { bareCopy } from '../../agent/store/disk/new-copy.ts'

/** What a disk has to know of its trees, whatever they are made of. */
export interface TreeModel<T> {
  readonly empty: T
  hashOf(tree: T): string
  bytesOf(tree: T): number
  filesOf(tree: T): number
  /** Bytes that a scan reads of a tree that has changed. */
  scannedBytesOf(tree: T): number
}

/** One copy as it lies on a disk. */
export interface Shelf<T> {
  record: LocalCopy
  /** What a reader of the tree sees now. */
  tree: T
  /** The part of it that survives a power cut. */
  synced: T
  /** Tree of the manifest that the last quiet capture or apply kept; null: there was none. */
  kept: T | null
  /** Tree of the manifest of the last live capture; null: none since the last quiet one. */
  live: T | null
  /** The checkpoint whose spool is here; null: the volume is idle, or was scanned for a release. */
  spooled: T | null
  /** What `spoolFreeze` has frozen and nobody has captured yet. Lost with the agent. */
  frozen: T | null
  /** What `spoolLast` captured and nobody has committed yet. Lost with the agent. */
  captured: T | null
  /** What `captureAside` captured. Lost with the agent. */
  aside: T | null
  /** What was received completely; null: nothing. */
  staged: T | null
  /** A committed apply that has not ended. */
  journal: { readonly checkpoint: Checkpoint; readonly target: T } | null
  /** Trees that were set aside by `diverge`, by name. */
  readonly diverged: Map<string, T>
}

/** A copy of a removed volume. */
export interface RemovedShelf<T> {
  readonly id: string
  readonly name: string
  readonly tree: T
  readonly diverged: ReadonlyMap<string, T>
  /** ISO 8601; null: it stays until an operator deletes it. */
  readonly until: string | null
}

/** The disk of one host, and what its kernel has mounted. It outlives the agents that work on it. */
export class FakeDisk<T> {
  readonly host: string
  readonly model: TreeModel<T>
  readonly shelves = new Map<string, Shelf<T>>()
  readonly trash: RemovedShelf<T>[] = []
  readonly aside: RemovedShelf<T>[] = []
  readonly mounted = new Set<string>()
  /** Every write fails with this errno; null: none does. */
  unwritable: string | null = null
  full = false
  /** Ids of copies whose records cannot be read. */
  readonly unreadable = new Set<string>()
  /** Ids of copies whose trees hold something that no capture supports. */
  readonly unsupported = new Set<string>()
  readonly #trashedUntil: () => string

  /** `trashedUntil`: until when the trash keeps what comes into it now, ISO 8601. */
  constructor(host: string, model: TreeModel<T>, trashedUntil: () => string) {
    this.host = host
    this.model = model
    this.#trashedUntil = trashedUntil
  }

  shelf(id: string): Shelf<T> | undefined {
    return this.shelves.get(id)
  }

  create(volume: Pick<LocalCopy, 'id' | 'name' | 'options'>): LocalCopy {
    const known = this.shelves.get(volume.id)
    if (known !== undefined) return known.record
    const record = bareCopy(volume)
    const { empty } = this.model
    const kept = { kept: null, live: null, spooled: null, frozen: null, captured: null, aside: null }
    const trees = { tree: empty, synced: empty, staged: null, journal: null }
    this.shelves.set(volume.id, { record, ...trees, ...kept, diverged: new Map() })
    return record
  }

  update(shelf: Shelf<T>, change: Partial<Omit<LocalCopy, 'id'>>): LocalCopy {
    const before = shelf.record
    const epochSeen = Math.max(before.epochSeen, change.epochSeen ?? 0)
    shelf.record = { ...before, ...change, id: before.id, epochSeen }
    return shelf.record
  }

  /** What was written so far survives a power cut. */
  sync(shelf: Shelf<T>): void {
    shelf.synced = shelf.tree
  }

  /** The tree of a checkpoint takes the place of the copy's. */
  replace(shelf: Shelf<T>, target: T): void {
    this.#put(shelf, target)
    this.keep(shelf, target)
  }

  /** Sets the copy's tree aside under `name`, and leaves an empty one. */
  diverge(shelf: Shelf<T>, name: string): void {
    shelf.diverged.set(name, shelf.tree)
    this.#put(shelf, this.model.empty)
    this.keep(shelf, null)
    shelf.staged = null
  }

  /** Keeps the manifest of a tree as the last one. */
  keep(shelf: Shelf<T>, tree: T | null): void {
    shelf.kept = tree
    shelf.live = null
  }

  dropSpool(shelf: Shelf<T>): void {
    shelf.spooled = null
    shelf.frozen = null
    shelf.captured = null
  }

  /** Moves a copy to the trash; one that is not there is no error. */
  moveToTrash(id: string): void {
    this.#remove(id, this.trash, this.#trashedUntil())
  }

  /** Moves a copy to where nothing deletes it; returns the directory, below the state directory. */
  moveAside(id: string): string {
    const name = this.shelves.get(id)?.record.name
    this.#remove(id, this.aside, null)
    return `set-aside/${name}-${id}`
  }

  leftOvers(): RemovedCopy[] {
    const trashed = this.trash.map(({ id, name, until }) => ({ id, name, directory: `trash/${id}`, until }))
    const aside = this.aside.map(({ id, name, until }) => ({ id, name, directory: `set-aside/${name}-${id}`, until }))
    return [...trashed, ...aside]
  }

  /** The agent's process has ended, and with it what was only in its memory. */
  agentEnded(): void {
    for (const shelf of this.shelves.values()) {
      shelf.frozen = null
      shelf.captured = null
      shelf.aside = null
    }
  }

  #put(shelf: Shelf<T>, tree: T): void {
    this.unsupported.delete(shelf.record.id)
    shelf.tree = tree
    shelf.synced = tree
    this.dropSpool(shelf)
  }

  #remove(id: string, to: RemovedShelf<T>[], until: string | null): void {
    const shelf = this.shelves.get(id)
    if (shelf === undefined) return
    to.push({ id, name: shelf.record.name, tree: shelf.tree, diverged: shelf.diverged, until })
    this.shelves.delete(id)
  }
}
