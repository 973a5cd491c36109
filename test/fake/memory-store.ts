import type { WherryError } from '../../agent/model/errors.ts'
import type { Clock } from '../../agent/runtime/clock.ts'
import type { LocalCopy } from '../../agent/store/contract.ts'
import type { SnapshotRef } from '../../agent/store/tree-contract.ts'
import type { TreeWork } from './copies.ts'
import { FakeDisk, type Shelf, type TreeModel } from './disk.ts'
import { FakeStore, type KeptContent } from './store.ts'

/** How long the trash is kept. */
const RETENTION_MS = 7 * 86_400_000
const NEVER = new AbortController().signal

/** Here a tree is a string, and crosses the network in one write. */
export const hashOf = (tree: string) => `hash of ${tree}`

const TEXT: TreeModel<string> = {
  empty: '',
  hashOf,
  bytesOf: (tree) => tree.length,
  filesOf: (tree) => (tree === '' ? 0 : 1),
  scannedBytesOf: (tree) => tree.length,
}

/** The store of unit tests: nothing takes time, fails or is lost but what the test asks for. It outlives agents. */
export class MemoryStore extends FakeStore<string> {
  /** How long a scan takes. */
  captureMs = 0
  /** Quiet captures that have begun. */
  captures = 0
  /** How long it takes to read the records of all copies. */
  copiesMs = 0
  /** How long a durable write of a copy's record takes. */
  updateMs = 0
  /** Set: the stage refuses with it. */
  stageError: WherryError | null = null
  /** Of the copies, by id. */
  readonly trees = new ShelfField(this.disk, 'tree')
  readonly frozen = new ShelfField(this.disk, 'frozen')
  readonly spooled = new ShelfField(this.disk, 'spooled')
  readonly mountedIds = this.disk.mounted
  readonly unreadable = this.disk.unreadable
  readonly #clock: Clock

  constructor(clock: Clock) {
    const trashedUntil = () => new Date(clock.now().getTime() + RETENTION_MS).toISOString()
    super(new FakeDisk('this host', TEXT, trashedUntil))
    this.#clock = clock
    this.scanned = 'the tree is in memory'
  }

  /** Every write fails with this errno; null: none does. */
  get unwritable(): string | null {
    return this.disk.unwritable
  }

  set unwritable(errno: string | null) {
    this.disk.unwritable = errno
  }

  /** Ids of the copies in the trash. */
  get inTrash(): ReadonlySet<string> {
    return new Set(this.disk.trash.map(({ id }) => id))
  }

  /** Trees of removed volumes that were set aside, by id. */
  get setAsideTrees(): ReadonlyMap<string, string> {
    return new Map(this.disk.aside.map(({ id, tree }) => [id, tree]))
  }

  /** Diverged trees, by id and name. */
  get aside(): ReadonlyMap<string, string> {
    const here = [...this.disk.shelves].map(([id, { diverged }]) => ({ id, diverged }))
    const all = [...here, ...this.disk.trash, ...this.disk.aside]
    return new Map(all.flatMap(({ id, diverged }) => [...diverged].map(([name, tree]) => [`${id}/${name}`, tree])))
  }

  /** What another host gets; `tree` null: not all of it can be had, because the tree has changed since. */
  async give(id: string, kind: SnapshotRef['kind']): Promise<{ hash: string; tree: string | null }> {
    const tree = this.manifest(id, kind)
    return { hash: hashOf(tree), tree: this.delivers(id, kind, tree) ? tree : null }
  }

  /** Takes another host's tree into the stage. */
  async stage(volume: Pick<LocalCopy, 'id' | 'name' | 'options'>, tree: string): Promise<void> {
    await this.receive(volume, async (stage) => stage(tree))
  }

  override receive<R>(
    volume: Pick<LocalCopy, 'id' | 'name' | 'options'>,
    transfer: (stage: (tree: string) => void) => Promise<R>,
  ): Promise<R> {
    return super.receive(volume, (stage) =>
      transfer((tree) => {
        if (this.stageError !== null) throw this.stageError
        stage(tree)
      }),
    )
  }

  /** What was only in the memory of the agent is gone with it. */
  agentEnded(): void {
    this.disk.agentEnded()
  }

  protected async read(what: 'record' | 'records'): Promise<void> {
    if (what === 'records' && this.copiesMs > 0) await this.#clock.sleep(this.copiesMs, NEVER)
  }

  protected async work(what: TreeWork, signal: AbortSignal): Promise<void> {
    if (what === 'quiet') this.captures++
    if (['probe', 'mount', 'round', 'last'].includes(what) || this.captureMs <= 0) return
    await this.#clock.sleep(this.captureMs, signal)
  }

  protected async write<R>(what: 'record' | 'tree', effect: () => R): Promise<R> {
    if (what === 'record' && this.updateMs > 0) await this.#clock.sleep(this.updateMs, NEVER)
    this.requireWritable()
    return effect()
  }

  protected has(kept: KeptContent, isSame: boolean): boolean {
    return isSame || kept !== 'live'
  }
}

/** One field of all copies on a disk, by id of the copy. */
class ShelfField {
  readonly #disk: FakeDisk<string>
  readonly #field: 'tree' | 'frozen' | 'spooled'

  constructor(disk: FakeDisk<string>, field: 'tree' | 'frozen' | 'spooled') {
    this.#disk = disk
    this.#field = field
  }

  get size(): number {
    return [...this.#disk.shelves.values()].filter((shelf) => shelf[this.#field] !== null).length
  }

  get(id: string): string | undefined {
    return this.#disk.shelf(id)?.[this.#field] ?? undefined
  }

  has(id: string): boolean {
    return this.get(id) !== undefined
  }

  set(id: string, tree: string): void {
    this.#shelf(id)[this.#field] = tree
  }

  delete(id: string): void {
    if (this.#field !== 'tree') this.#shelf(id)[this.#field] = null
  }

  #shelf(id: string): Shelf<string> {
    const shelf = this.#disk.shelf(id)
    if (shelf === undefined) throw new Error(`there is no copy ${id}`)
    return shelf
  }
}
