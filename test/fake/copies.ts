import { KeyedQueue } from '../../agent/runtime/keyed-queue.ts'
import type { LocalCopy, RemovedCopy } from '../../agent/store/contract.ts'
import { TurnQueue } from '../../agent/store/turn-queue.ts'
import type { FakeDisk, Shelf } from './disk.ts'
import { STORE_REFUSALS } from './store-refusals.ts'

const DISK_BYTES = 1_000_000_000_000
const FREE_BYTES = 500_000_000_000

/** Something that a store does with a tree, and that takes its time. */
export type TreeWork = 'quiet' | 'live' | 'aside' | 'round' | 'freeze' | 'last' | 'verify' | 'probe' | 'mount'

/**
 * The copies on one disk: records, mounts, trash. How long everything takes, and when in that time it happens, is up to
 * the subclass.
 */
export abstract class FakeCopies<T> {
  readonly disk: FakeDisk<T>
  protected readonly turns = new TurnQueue()
  /** Set: the kernel refuses to unmount. */
  unmountError: Error | null = null
  /** Set: the directories of copies cannot be listed. */
  copiesError: Error | null = null
  readonly #writes = new KeyedQueue()
  readonly #writers = new Set<string>()

  constructor(disk: FakeDisk<T>) {
    this.disk = disk
  }

  /** Reads the records of one copy or of all. */
  protected abstract read(what: 'record' | 'records'): Promise<void>
  protected abstract work(what: TreeWork, signal: AbortSignal): Promise<void>
  /**
   * Does `effect` at some moment before it resolves, if the disk can be written to then. A process that dies meanwhile
   * may have done it or not.
   */
  protected abstract write<R>(what: 'record' | 'tree', effect: () => R): Promise<R>

  async copies() {
    // What changes during the read may be in it or not; here it is not.
    const shelves = [...this.disk.shelves.values()].map(({ record }) => record)
    await this.read('records')
    if (this.copiesError !== null) throw this.copiesError
    const { unreadable } = this.disk
    const copies = shelves.filter(({ id }) => !unreadable.has(id))
    const damaged = [...unreadable].map((id) => ({ path: `/state/volumes/${id}`, reason: 'EIO' }))
    return { copies, damaged }
  }

  async copy(id: string): Promise<LocalCopy | null> {
    await this.read('record')
    this.requireReadable(id)
    return this.disk.shelf(id)?.record ?? null
  }

  async create(volume: Pick<LocalCopy, 'id' | 'name' | 'options'>): Promise<LocalCopy> {
    this.requireReadable(volume.id)
    if (this.disk.shelf(volume.id) === undefined) this.requireSpace(volume.name)
    return this.durably('record', volume.id, () => this.disk.create(volume))
  }

  update(id: string, change: Partial<Omit<LocalCopy, 'id'>>): Promise<LocalCopy> {
    return this.durably('record', id, () => this.disk.update(this.require(id), change))
  }

  async probe(): Promise<void> {
    await this.work('probe', new AbortController().signal)
    this.requireWritable()
  }

  async space() {
    await this.read('record')
    return { freeBytes: this.disk.full ? 0 : FREE_BYTES, totalBytes: DISK_BYTES }
  }

  mount(id: string): Promise<string> {
    return this.turns.run(id, async () => {
      this.requireWhole(id)
      await this.work('mount', new AbortController().signal)
      this.disk.mounted.add(id)
      return this.mountpoint(id)
    })
  }

  async unmount(id: string): Promise<void> {
    await this.work('mount', new AbortController().signal)
    if (this.unmountError !== null && this.disk.mounted.has(id)) throw this.unmountError
    this.disk.mounted.delete(id)
  }

  mountpoint(id: string): string {
    return `/mnt/${id}`
  }

  async mounted(): Promise<Set<string>> {
    await this.read('record')
    return new Set(this.disk.mounted)
  }

  trash(id: string): Promise<void> {
    return this.turns.run(id, async () => {
      this.requireUnmounted(id)
      this.requireNoWriter(id)
      await this.durably('tree', id, () => this.disk.moveToTrash(id))
    })
  }

  setAside(id: string): Promise<string> {
    return this.turns.run(id, async () => {
      this.requireUnmounted(id)
      this.requireNoWriter(id)
      return this.durably('tree', id, () => {
        this.require(id)
        return this.disk.moveAside(id)
      })
    })
  }

  async removed(): Promise<RemovedCopy[]> {
    await this.read('record')
    if (this.copiesError !== null) throw this.copiesError
    return this.disk.leftOvers()
  }

  async emptyTrash(): Promise<string[]> {
    return []
  }

  dropStage(id: string): Promise<void> {
    return this.turns.run(id, async () => {
      this.requireNoWriter(id)
      const shelf = this.disk.shelf(id)
      if (shelf?.journal != null) throw STORE_REFUSALS.unfinished(id, this.disk.host)
      if (shelf !== undefined) shelf.staged = null
    })
  }

  /** Takes another host's tree into the stage; one at a time. */
  async receive<R>(
    volume: Pick<LocalCopy, 'id' | 'name' | 'options'>,
    transfer: (stage: (tree: T) => void) => Promise<R>,
  ): Promise<R> {
    const { id } = volume
    this.requireNoWriter(id)
    this.#writers.add(id)
    try {
      await this.create(volume)
      return await transfer((tree) => {
        this.requireSpace(volume.name)
        this.require(id).staged = tree
      })
    } finally {
      this.#writers.delete(id)
    }
  }

  /** Durable writes to one record, or to one tree, come one after another. */
  protected durably<R>(what: 'record' | 'tree', id: string, effect: () => R): Promise<R> {
    return this.#writes.run(`${what} ${id}`, () => this.write(what, effect))
  }

  protected requireReadable(id: string): void {
    if (this.disk.unreadable.has(id)) throw STORE_REFUSALS.unreadable(id, this.disk.host)
  }

  protected require(id: string): Shelf<T> {
    this.requireReadable(id)
    const shelf = this.disk.shelf(id)
    if (shelf === undefined) throw STORE_REFUSALS.noCopy(id, this.disk.host)
    return shelf
  }

  protected requireFinished(id: string): Shelf<T> {
    const shelf = this.require(id)
    if (shelf.record.applying || shelf.journal !== null) throw STORE_REFUSALS.unfinished(id, this.disk.host)
    return shelf
  }

  protected requireWhole(id: string): Shelf<T> {
    const shelf = this.requireFinished(id)
    if (shelf.record.damaged !== null) throw STORE_REFUSALS.damaged(id, this.disk.host)
    return shelf
  }

  protected requireHeld(id: string): Shelf<T> {
    const shelf = this.requireWhole(id)
    if (shelf.record.held === null) throw STORE_REFUSALS.notHeld(id, this.disk.host)
    return shelf
  }

  protected requireIdle(shelf: Shelf<T>): void {
    if (shelf.record.held !== null) throw STORE_REFUSALS.inUse(shelf.record.name, 'held')
    this.requireUnmounted(shelf.record.id)
  }

  protected requireUnmounted(id: string): void {
    if (this.disk.mounted.has(id)) throw STORE_REFUSALS.inUse(this.disk.shelf(id)?.record.name ?? id, 'mounted')
  }

  protected requireNoWriter(id: string): void {
    if (this.#writers.has(id)) throw STORE_REFUSALS.receiving(id)
  }

  protected requireWritable(): void {
    const { unwritable, host } = this.disk
    if (unwritable !== null) throw STORE_REFUSALS.unwritable(unwritable, host)
  }

  protected requireSpace(name: string): void {
    this.requireWritable()
    if (this.disk.full) throw STORE_REFUSALS.full(name, this.disk.host)
  }
}
