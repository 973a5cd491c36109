import type { LocalCopy } from '../../agent/store/contract.ts'
import { FakeDisk, type Shelf, type TreeModel } from '../fake/disk.ts'
import type { Random } from './random.ts'
import { EMPTY, type Tree, type WrittenRecord } from './tree.ts'

/** Size of one record. */
const RECORD_BYTES = 4_096
/** After the end of every run. */
const KEPT_UNTIL = '2999-01-01T00:00:00.000Z'

const RECORDS: TreeModel<Tree> = {
  empty: EMPTY,
  hashOf: ({ hash }) => hash,
  bytesOf: ({ length }) => length * RECORD_BYTES,
  filesOf: ({ length }) => Math.min(1, length),
  scannedBytesOf: () => RECORD_BYTES,
}

export type SimShelf = Shelf<Tree>

export interface DiskWatch {
  /** A tree is about to be replaced or removed. */
  readonly replaced: (host: string, id: string, before: Tree, after: Tree | null) => void
  readonly recordChanged: (host: string, before: LocalCopy, after: LocalCopy) => void
}

/** The disk of a machine, which the checker watches. A power cut leaves what was synced. */
export class SimDisk extends FakeDisk<Tree> {
  readonly watch: DiskWatch
  /** Multiplies how long everything takes. */
  slowness = 1
  /** Called when the record of a copy has changed: some faults wait for that. */
  trap: ((before: LocalCopy, after: LocalCopy) => void) | null = null
  /** What of a record the agent of this host reads and writes. */
  rewrite: (copy: LocalCopy) => LocalCopy = (copy) => copy
  readonly #random: Random

  constructor(host: string, random: Random, watch: DiskWatch) {
    super(host, RECORDS, () => KEPT_UNTIL)
    this.#random = random
    this.watch = watch
  }

  override update(shelf: SimShelf, change: Partial<Omit<LocalCopy, 'id'>>): LocalCopy {
    const before = shelf.record
    const after = this.rewrite(super.update(shelf, change))
    shelf.record = after
    this.watch.recordChanged(this.host, before, after)
    this.trap?.(before, after)
    return after
  }

  /** A container writes. Returns the tree, null when the disk does not take it. It is durable after the next write. */
  append(id: string, entry: WrittenRecord): Tree | null {
    const shelf = this.shelves.get(id)
    if (shelf === undefined || this.full || this.unwritable !== null) return null
    this.sync(shelf)
    shelf.tree = shelf.tree.append(entry)
    if (this.#random.hit(0.7)) this.sync(shelf)
    return shelf.tree
  }

  /** What was written is durable now, and the client is told so. */
  override sync(shelf: SimShelf): void {
    super.sync(shelf)
    shelf.tree.acked = true
  }

  override replace(shelf: SimShelf, target: Tree): void {
    this.watch.replaced(this.host, shelf.record.id, shelf.tree, target)
    super.replace(shelf, target)
  }

  override moveToTrash(id: string): void {
    const shelf = this.shelves.get(id)
    if (shelf !== undefined) this.watch.replaced(this.host, id, shelf.tree, null)
    super.moveToTrash(id)
  }

  powerCut(): void {
    this.agentEnded()
    this.mounted.clear()
    for (const shelf of this.shelves.values()) {
      if (shelf.tree !== shelf.synced && this.#random.hit(0.5)) shelf.tree = shelf.synced
      this.sync(shelf)
      if (this.#random.hit(0.5)) shelf.staged = null
    }
  }
}
