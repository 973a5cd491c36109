import { WherryError } from '../../agent/model/errors.ts'
import type { Checkpoint } from '../../agent/model/model.ts'
import { KeyedQueue } from '../../agent/runtime/keyed-queue.ts'
import type { Capture, LocalCopy, RemovedCopy, SpoolRound, Store, Verification } from '../../agent/store/contract.ts'
import type { SnapshotRef } from '../../agent/store/tree-contract.ts'
import type { Disk, Shelf } from './disk.ts'
import type { Life } from './process.ts'
import type { Chance } from './random.ts'
import type { Tree } from './tree.ts'

const DISK_BYTES = 1_000_000_000_000
const FREE_BYTES = 500_000_000_000
/** Every record counts as this many bytes. */
const RECORD_BYTES = 4_096
/** How often something that was frozen has to be taken from a tree that has moved on. */
const NOT_KEPT = 0.05
/** How often the spool of a checkpoint has all that a copy lacks. */
const SPOOL_IS_WHOLE = 0.9
/** Most answers come from memory, at once. */
const CACHED = 0.8

type Volume = Pick<LocalCopy, 'id' | 'name' | 'options'>

/** The store as one agent has it: what it asks for takes time, and what the disk has to keep is there when the answer comes, or when the power goes a moment before. */
export class DiskStore implements Store {
  readonly disk: Disk
  readonly #life: Life
  readonly #chance: Chance
  readonly #lanes = new KeyedQueue()
  readonly #writers = new Set<string>()

  constructor(disk: Disk, life: Life, chance: Chance) {
    this.disk = disk
    this.#life = life
    this.#chance = chance
  }

  async copies() {
    await this.#read()
    const { unreadable, shelves } = this.disk
    const copies = [...shelves.values()].map(({ record }) => record).filter(({ id }) => !unreadable.has(id))
    const damaged = [...unreadable].map((id) => ({ path: `/state/volumes/${id}`, reason: 'EIO' }))
    return { copies, damaged }
  }

  async copy(id: string): Promise<LocalCopy | null> {
    await this.#read()
    this.#requireReadable(id)
    return this.disk.shelf(id)?.record ?? null
  }

  async create(volume: Volume): Promise<LocalCopy> {
    this.#requireReadable(volume.id)
    if (this.disk.shelf(volume.id) === undefined) this.#requireSpace(volume.name)
    return this.#durably(`record ${volume.id}`, () => this.disk.create(volume))
  }

  update(id: string, change: Partial<Omit<LocalCopy, 'id'>>): Promise<LocalCopy> {
    return this.#durably(`record ${id}`, () => this.disk.update(this.#require(id), change))
  }

  capture(id: string, kind: 'quiet' | 'live', signal: AbortSignal): Promise<Capture> {
    return this.#lanes.run(id, async () => {
      signal.throwIfAborted()
      const shelf = kind === 'quiet' ? this.#requireFinished(id) : this.#requireWhole(id)
      const before = shelf.tree
      const { checkpoint } = shelf.record
      this.#requireWritable()
      await this.#work(kind === 'quiet' ? 30 : 100)
      signal.throwIfAborted()
      this.#requireWritable()
      this.#requirePlain(shelf)
      if (kind === 'live') {
        shelf.live = before
        return captureOf(before)
      }
      if (shelf.tree !== before) throw changed(shelf)
      this.disk.sync(shelf)
      this.disk.keep(shelf, before)
      this.disk.dropSpool(shelf)
      await this.#judge(shelf, checkpoint)
      return captureOf(before)
    })
  }

  captureAside(id: string, signal: AbortSignal): Promise<Capture> {
    return this.#lanes.run(id, async () => {
      signal.throwIfAborted()
      const shelf = this.#requireWhole(id)
      const before = shelf.tree
      await this.#work(30)
      signal.throwIfAborted()
      this.#requirePlain(shelf)
      if (shelf.tree !== before) throw changed(shelf)
      shelf.aside = before
      return captureOf(before)
    })
  }

  async probe(): Promise<void> {
    await this.#work(5)
    this.#requireWritable()
  }

  spoolRound(id: string, signal: AbortSignal): Promise<SpoolRound> {
    return this.#lanes.run(id, async () => {
      signal.throwIfAborted()
      const shelf = this.#requireHeld(id)
      shelf.frozen = null
      shelf.captured = null
      this.#requireSpace(shelf.record.name)
      await this.#work(20)
      signal.throwIfAborted()
      this.#requireWritable()
      this.#requirePlain(shelf)
      const isNew = shelf.tree.hash !== shelf.record.checkpoint?.hash
      const bytes = isNew ? RECORD_BYTES : 0
      return { changed: isNew, bytesRead: bytes, bytesSpooled: bytes, scanned: null }
    })
  }

  spoolFreeze(id: string, kind: 'quiet' | 'live', signal: AbortSignal): Promise<void> {
    return this.#lanes.run(id, async () => {
      signal.throwIfAborted()
      const shelf = this.#requireHeld(id)
      this.#requireSpace(shelf.record.name)
      shelf.frozen = null
      shelf.captured = null
      const before = shelf.tree
      await this.#work(20)
      signal.throwIfAborted()
      this.#requireWritable()
      this.#requirePlain(shelf)
      if (kind === 'quiet' && shelf.tree !== before) throw changed(shelf)
      // A live round waits for the disk as well; what comes after `before` is safe a little early.
      this.disk.sync(shelf)
      shelf.frozen = before
    })
  }

  /** What was written since it was frozen is not in it, and seldom keeps it from being captured. */
  spoolLast(id: string, signal: AbortSignal): Promise<Capture> {
    return this.#lanes.run(id, async () => {
      const shelf = this.#requireHeld(id)
      const { frozen } = shelf
      shelf.frozen = null
      if (frozen === null) throw new WherryError('HASH_MISMATCH', `Nothing of ${id} is frozen.`)
      signal.throwIfAborted()
      this.#requireSpace(shelf.record.name)
      await this.#work(20)
      signal.throwIfAborted()
      if (shelf.tree !== frozen && this.#chance.hit(NOT_KEPT)) throw changed(shelf)
      shelf.captured = frozen
      return captureOf(frozen)
    })
  }

  spoolThaw(id: string): Promise<void> {
    return this.#lanes.run(id, async () => {
      const shelf = this.disk.shelf(id)
      if (shelf !== undefined) shelf.frozen = null
    })
  }

  spoolCommit(id: string, checkpoint: Checkpoint): Promise<void> {
    return this.#lanes.run(id, async () => {
      const shelf = this.#requireHeld(id)
      const { captured } = shelf
      const isNew = shelf.record.checkpoint?.hash !== checkpoint.hash
      if (isNew && captured?.hash !== checkpoint.hash) throw mismatch(shelf, checkpoint)
      this.#requireSpace(shelf.record.name)
      await this.#durably(`record ${id}`, () => {
        this.disk.update(shelf, { checkpoint, epochSeen: checkpoint.epoch })
        if (!isNew || captured === null) return
        this.disk.keep(shelf, captured)
        shelf.captured = null
        shelf.spooled = captured
      })
    })
  }

  diverge(id: string, at: string, bytes: number | null): Promise<LocalCopy> {
    return this.#lanes.run(id, async () => {
      const shelf = this.#require(id)
      this.#requireUnmounted(id)
      const { record } = shelf
      const base = record.checkpoint === null ? null : { epoch: record.checkpoint.epoch, seq: record.checkpoint.seq }
      const tree = { name: at, epoch: record.held?.epoch ?? record.epochSeen, base, at, bytes }
      return this.#durably(`record ${id}`, () => {
        shelf.diverged.push(shelf.tree)
        this.disk.replace(shelf, emptyOf(shelf), 'diverge')
        this.disk.keep(shelf, null)
        shelf.staged = null
        const bare = { checkpoint: null, held: null, applying: false, damaged: null, mounts: {} }
        return this.disk.update(shelf, { ...bare, diverged: [...record.diverged, tree] })
      })
    })
  }

  async space() {
    await this.#read()
    return { freeBytes: this.disk.full ? 0 : FREE_BYTES, totalBytes: DISK_BYTES }
  }

  apply(id: string, checkpoint: Checkpoint): Promise<void> {
    return this.#lanes.run(id, async () => {
      const shelf = this.#require(id)
      this.#requireUnmounted(id)
      if (shelf.record.held !== null) throw inUse(shelf.record.name, 'held')
      if (shelf.journal === null || shelf.journal.checkpoint.hash !== checkpoint.hash) {
        const { staged } = shelf
        if (staged === null) throw new WherryError('STAGE_INCOMPLETE', `Nothing was received of ${shelf.record.name}.`)
        if (staged.hash !== checkpoint.hash) throw mismatch(shelf, checkpoint)
        this.#requireSpace(shelf.record.name)
        await this.#durably(`tree ${id}`, () => {
          shelf.journal = { checkpoint, target: staged }
          this.disk.update(shelf, { applying: true })
        })
      }
      await this.#finishApply(shelf)
    })
  }

  async verify(id: string, signal: AbortSignal): Promise<Verification> {
    return await this.#lanes.run(id, async () => {
      const shelf = this.#require(id)
      const { record, kept, tree } = shelf
      if (record.held !== null) throw inUse(shelf.record.name, 'held')
      this.#requireUnmounted(id)
      const should = record.checkpoint?.hash ?? kept?.hash
      if (should === undefined) throw noManifest(shelf, 'last')
      await this.#work(50)
      signal.throwIfAborted()
      const damaged =
        should === tree.hash ? [] : [{ path: '"records"', reason: 'content' as const, detail: null, blocks: 1 }]
      const paths = damaged.length === 0 ? null : damaged.map(({ path }) => path)
      await this.#durably(`record ${id}`, () => this.disk.update(shelf, { damaged: paths }))
      return { filesChecked: 1, bytesRead: tree.length * RECORD_BYTES, damaged, damagedCount: damaged.length }
    })
  }

  /** The kept manifest that another host gets. */
  manifest(id: string, kind: SnapshotRef['kind']): Tree {
    const shelf = this.#requireWhole(id)
    const { kept, live, aside, record } = shelf
    const checkpoint = kept?.hash === record.checkpoint?.hash ? kept : null
    const found = { last: kept, spool: checkpoint, live, aside }[kind]
    if (found === null) throw noManifest(shelf, kind)
    return found
  }

  /**
   * Whether every byte of a manifest can be had: the tree may have changed since, and a spool may lack what is older.
   */
  delivers(id: string, kind: SnapshotRef['kind'], manifest: Tree): boolean {
    const shelf = this.disk.shelf(id)
    if (shelf === undefined || shelf.journal !== null) return false
    if (kind === 'live') return this.#chance.hit(0.7)
    if (kind === 'spool' && shelf.spooled?.hash === manifest.hash) return this.#chance.hit(SPOOL_IS_WHOLE)
    return shelf.tree.hash === manifest.hash
  }

  async recover(): Promise<void> {
    await this.#read()
    // What cannot be finished now stays as it is: `applying`.
    if (this.disk.readOnly) return
    for (const [id, shelf] of this.disk.shelves) {
      if (shelf.journal !== null && !this.disk.mounted.has(id)) await this.#finishApply(shelf)
    }
  }

  mount(id: string): Promise<string> {
    return this.#lanes.run(id, async () => {
      this.#requireWhole(id)
      await this.#work(2)
      this.disk.mounted.add(id)
      return this.mountpoint(id)
    })
  }

  async unmount(id: string): Promise<void> {
    await this.#work(2)
    this.disk.mounted.delete(id)
  }

  mountpoint(id: string): string {
    return `/mnt/${id}`
  }

  async mounted(): Promise<Set<string>> {
    await this.#read()
    return new Set(this.disk.mounted)
  }

  trash(id: string): Promise<void> {
    return this.#lanes.run(id, async () => {
      this.#requireUnmounted(id)
      if (this.#writers.has(id)) throw running(id)
      await this.#durably(`tree ${id}`, () => this.disk.remove(id))
    })
  }

  setAside(id: string): Promise<string> {
    return this.#lanes.run(id, async () => {
      this.#requireUnmounted(id)
      if (this.#writers.has(id)) throw running(id)
      return this.#durably(`tree ${id}`, () => this.disk.setAside(id))
    })
  }

  async removed(): Promise<RemovedCopy[]> {
    await this.#read()
    return this.disk.leftOvers()
  }

  async emptyTrash(): Promise<string[]> {
    return []
  }

  dropStage(id: string): Promise<void> {
    return this.#lanes.run(id, async () => {
      if (this.#writers.has(id)) throw running(id)
      const shelf = this.disk.shelf(id)
      if (shelf !== undefined) shelf.staged = null
    })
  }

  /** Takes another host's tree into the stage; one at a time. */
  async receive<T>(volume: Volume, work: (stage: (tree: Tree) => void) => Promise<T>): Promise<T> {
    const { id } = volume
    if (this.#writers.has(id)) throw running(id)
    this.#writers.add(id)
    try {
      await this.create(volume)
      return await work((tree) => {
        this.#requireSpace(volume.name)
        this.#require(id).staged = tree
      })
    } finally {
      this.#writers.delete(id)
    }
  }

  async #finishApply(shelf: Shelf): Promise<void> {
    const { journal } = shelf
    if (journal === null) return
    const { id } = shelf.record
    await this.#durably(`tree ${id}`, () => this.disk.replace(shelf, journal.target, 'apply'))
    const { checkpoint } = journal
    await this.#durably(`record ${id}`, () => {
      this.disk.update(shelf, { checkpoint, applying: false, damaged: null, epochSeen: checkpoint.epoch })
      shelf.journal = null
      shelf.staged = null
    })
  }

  async #read(): Promise<void> {
    if (this.disk.slowness === 1 && this.#chance.hit(CACHED)) return
    await this.#life.wait(this.#chance.between(0.1, 3) * this.disk.slowness)
  }

  /** Some work of about so long. */
  #work(ms: number): Promise<void> {
    return this.#life.wait(this.#chance.between(0.2, 2) * ms * Math.min(this.disk.slowness, 30))
  }

  /** Takes effect somewhere between call and answer, one after another per `lane`. A process that dies meanwhile may or may not have done it. */
  #durably<T>(lane: string, work: () => T): Promise<T> {
    return this.#lanes.run(lane, async () => {
      const ms = this.#chance.between(0.2, 8) * this.disk.slowness
      if (this.disk.readOnly) {
        await this.#life.wait(ms)
        this.#requireWritable()
      }
      if (this.#chance.hit(0.5)) {
        const done = work()
        await this.#life.wait(ms)
        return done
      }
      return this.#life.call(ms, work)
    })
  }

  #requireReadable(id: string): void {
    if (!this.disk.unreadable.has(id)) return
    throw new WherryError('COPY_DAMAGED', `The record of copy ${id} on ${this.disk.host} cannot be understood.`)
  }

  #require(id: string): Shelf {
    this.#requireReadable(id)
    const shelf = this.disk.shelf(id)
    if (shelf === undefined) throw new WherryError('NOT_AT_CHECKPOINT', `There is no copy ${id} on ${this.disk.host}.`)
    return shelf
  }

  #requireHeld(id: string): Shelf {
    const shelf = this.#requireWhole(id)
    if (shelf.record.held === null) throw new WherryError('STALE_EPOCH', `${id} is not held on ${this.disk.host}.`)
    return shelf
  }

  /** An idle copy is damaged exactly if it is not at its checkpoint. */
  async #judge(shelf: Shelf, checkpoint: Checkpoint | null): Promise<void> {
    const { id, held, damaged, checkpoint: now } = shelf.record
    if (checkpoint === null || held !== null || now?.hash !== checkpoint.hash) return
    const isWhole = shelf.tree.hash === checkpoint.hash
    if (isWhole !== (damaged === null)) await this.update(id, { damaged: isWhole ? null : ['"file"'] })
  }

  #requireFinished(id: string): Shelf {
    const shelf = this.#require(id)
    if (!shelf.record.applying && shelf.journal === null) return shelf
    throw new WherryError('COPY_DAMAGED', `The copy ${id} on ${this.disk.host} is between two checkpoints.`)
  }

  #requireWhole(id: string): Shelf {
    const shelf = this.#requireFinished(id)
    if (shelf.record.damaged === null) return shelf
    throw new WherryError('COPY_DAMAGED', `The copy ${id} on ${this.disk.host} is damaged.`)
  }

  #requireUnmounted(id: string): void {
    if (this.disk.mounted.has(id)) throw inUse(id, 'mounted')
  }

  #requireWritable(): void {
    if (!this.disk.readOnly) return
    const message = `EROFS: read-only file system, open '${this.disk.host}'`
    throw Object.assign(new Error(message), { code: 'EROFS', syscall: 'open' })
  }

  #requirePlain({ record }: Shelf): void {
    if (!this.disk.odd.has(record.id)) return
    throw new WherryError('TREE_UNSUPPORTED', `"dir" in volume ${record.name} is a mount, which Wherry cannot move.`)
  }

  #requireSpace(name: string): void {
    this.#requireWritable()
    if (this.disk.full) throw new WherryError('DISK_FULL', `No space for volume "${name}" on ${this.disk.host}.`)
  }
}

function captureOf(tree: Tree): Capture {
  return {
    hash: tree.hash,
    bytes: tree.length * RECORD_BYTES,
    files: Math.min(1, tree.length),
    filesRead: 1,
    bytesRead: RECORD_BYTES,
  }
}

function emptyOf(shelf: Shelf): Tree {
  let at = shelf.tree
  while (at.before !== null) at = at.before
  return at
}

function changed(shelf: Shelf): WherryError {
  return new WherryError('TREE_CHANGED', `Volume "${shelf.record.name}" was written to while it was read.`)
}

function mismatch(shelf: Shelf, checkpoint: Checkpoint): WherryError {
  return new WherryError(
    'HASH_MISMATCH',
    `What is there of volume "${shelf.record.name}" is not checkpoint ${checkpoint.epoch}.${checkpoint.seq}.`,
  )
}

function noManifest(shelf: Shelf, kind: string): WherryError {
  return new WherryError('NOT_AT_CHECKPOINT', `There is no ${kind} manifest of ${shelf.record.name}.`)
}

function inUse(volume: string, how: string): WherryError {
  return new WherryError('VOLUME_IN_USE', `Volume "${volume}" is ${how} here.`)
}

function running(id: string): WherryError {
  return new WherryError('COPY_RUNNING', `Volume ${id} is being copied here already.`)
}
