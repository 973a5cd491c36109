import { WherryError } from '../../../agent/errors.ts'
import type { Clock } from '../../../agent/mobility/parts.ts'
import type { Checkpoint } from '../../../agent/model.ts'
import type { Capture, LocalCopy, SpoolRound, Store, Verification } from '../../../agent/store/contract.ts'
import { bareCopy } from '../../../agent/store/copies/bare-copy.ts'

/** Here a tree is a string, and crosses the network in one write. */
export const hashOf = (tree: string) => `hash of ${tree}`

/** One host's disk. It survives the host's agent: a new one may be started on it. */
export class MemoryStore implements Store {
  /** Why no tracker tells what changes; null: one does. */
  scanned: string | null = 'the tree is in memory'
  readonly trees = new Map<string, string>()
  readonly inTrash = new Set<string>()
  readonly mountedIds = new Set<string>()
  /** How long a look at a tree takes. */
  captureMs = 0
  captures = 0
  /** How long it takes to read the records of all copies. */
  copiesMs = 0
  /** How long a durable write of a copy's record takes. */
  updateMs = 0
  /** Every write to the disk fails with this errno; null: none does. */
  unwritable: string | null = null
  /** Set: no look at a tree succeeds. */
  captureError: Error | null = null
  /** Set: the kernel refuses to unmount. */
  unmountError: Error | null = null
  /** Set: the stage refuses with it. */
  stageError: WherryError | null = null
  readonly #clock: Clock
  readonly #copies = new Map<string, LocalCopy>()
  readonly #staged = new Map<string, string>()
  readonly #captured = new Map<string, string>()
  /** Trees as they were frozen, by id. */
  readonly frozen = new Map<string, string>()
  /** Checkpoints of held volumes, by id. */
  readonly spooled = new Map<string, string>()
  /** Trees that other hosts may read although nothing of them could be written here, by id. */
  readonly capturedAside = new Map<string, string>()
  /** Diverged trees, by id and name. */
  readonly aside = new Map<string, string>()
  /** Verifications that run: they give way to whatever else is wanted of a tree. */
  readonly #scrubs = new Map<string, AbortController>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  async copies() {
    if (this.copiesMs > 0) await this.#clock.sleep(this.copiesMs, new AbortController().signal)
    return { copies: [...this.#copies.values()], damaged: [] }
  }

  async copy(id: string) {
    return this.#copies.get(id) ?? null
  }

  async create(volume: Pick<LocalCopy, 'id' | 'name' | 'options'>) {
    const known = this.#copies.get(volume.id)
    if (known !== undefined) return known
    this.#write()
    const copy = bareCopy(volume)
    this.#copies.set(copy.id, copy)
    this.trees.set(copy.id, '')
    return copy
  }

  async update(id: string, change: Partial<Omit<LocalCopy, 'id'>>) {
    if (this.updateMs > 0) await this.#clock.sleep(this.updateMs, new AbortController().signal)
    this.#write()
    const copy = { ...this.#require(id), ...change }
    this.#copies.set(id, copy)
    return copy
  }

  async capture(id: string, kind: 'quiet' | 'live', signal: AbortSignal): Promise<Capture> {
    this.#scrubs.get(id)?.abort(new WherryError('VOLUME_IN_USE', 'wanted'))
    if (kind === 'quiet') this.captures++
    this.#write()
    return await this.#look(id, signal)
  }

  async captureAside(id: string, signal: AbortSignal): Promise<Capture> {
    const found = await this.#look(id, signal)
    this.capturedAside.set(id, this.trees.get(id) ?? '')
    return found
  }

  async probe(): Promise<void> {
    this.#write()
  }

  async #look(id: string, signal: AbortSignal): Promise<Capture> {
    await this.#clock.sleep(this.captureMs, signal)
    signal.throwIfAborted()
    if (this.captureError !== null) throw this.captureError
    const tree = this.trees.get(id) ?? ''
    return { hash: hashOf(tree), bytes: tree.length, files: 1, filesRead: 0, bytesRead: 0 }
  }

  #write(): void {
    if (this.unwritable === null) return
    throw Object.assign(new Error(`${this.unwritable}: cannot write`), { code: this.unwritable, syscall: 'open' })
  }

  async spoolRound(id: string): Promise<SpoolRound> {
    this.#write()
    if (this.captureError !== null) throw this.captureError
    const tree = this.trees.get(id) ?? ''
    const changed = this.#require(id).checkpoint?.hash !== hashOf(tree)
    return { changed, bytesRead: tree.length, bytesSpooled: changed ? tree.length : 0, scanned: this.scanned }
  }

  async spoolFreeze(id: string, _kind: 'quiet' | 'live', signal: AbortSignal): Promise<void> {
    await this.#clock.sleep(this.captureMs, signal)
    signal.throwIfAborted()
    this.frozen.set(id, this.trees.get(id) ?? '')
  }

  async spoolLast(id: string, _signal: AbortSignal): Promise<Capture> {
    const tree = this.frozen.get(id)
    if (tree === undefined) throw new WherryError('HASH_MISMATCH', 'nothing is frozen')
    this.frozen.delete(id)
    this.#captured.set(id, tree)
    return { hash: hashOf(tree), bytes: tree.length, files: 1, filesRead: 0, bytesRead: 0 }
  }

  async spoolThaw(id: string): Promise<void> {
    this.frozen.delete(id)
  }

  async spoolCommit(id: string, checkpoint: Checkpoint): Promise<void> {
    const tree = this.#captured.get(id) ?? ''
    if (hashOf(tree) !== checkpoint.hash) throw new WherryError('HASH_MISMATCH', 'not that one')
    this.spooled.set(id, tree)
    await this.update(id, { checkpoint })
  }

  async diverge(id: string, at: string, bytes: number | null): Promise<LocalCopy> {
    this.#write()
    if (this.mountedIds.has(id)) throw new WherryError('VOLUME_IN_USE', 'mounted')
    const { held, epochSeen, checkpoint, diverged } = this.#require(id)
    const name = `${held?.epoch ?? epochSeen}-${diverged.length}`
    this.aside.set(`${id}/${name}`, this.trees.get(id) ?? '')
    this.trees.set(id, '')
    const base = checkpoint === null ? null : { epoch: checkpoint.epoch, seq: checkpoint.seq }
    const put = { name, epoch: held?.epoch ?? epochSeen, base, at, bytes }
    return await this.update(id, { held: null, checkpoint: null, mounts: {}, diverged: [...diverged, put] })
  }

  async space() {
    return { freeBytes: 1e12, totalBytes: 1e12 }
  }

  /** Takes in another host's tree. */
  async stage(volume: Pick<LocalCopy, 'id' | 'name' | 'options'>, tree: string): Promise<void> {
    await this.create(volume)
    this.#write()
    if (this.stageError !== null) throw this.stageError
    this.#staged.set(volume.id, tree)
  }

  async apply(id: string, checkpoint: Checkpoint) {
    const tree = this.#staged.get(id)
    if (tree === undefined || hashOf(tree) !== checkpoint.hash) throw new WherryError('HASH_MISMATCH', 'not that one')
    this.trees.set(id, tree)
    await this.update(id, { checkpoint, damaged: null, epochSeen: checkpoint.epoch })
  }

  async verify(id: string, signal: AbortSignal): Promise<Verification> {
    const wanted = new AbortController()
    this.#scrubs.set(id, wanted)
    const stop = AbortSignal.any([signal, wanted.signal])
    await this.#clock.sleep(this.captureMs, stop)
    stop.throwIfAborted()
    const tree = this.trees.get(id) ?? ''
    const good = this.#require(id).checkpoint?.hash === hashOf(tree)
    await this.update(id, { damaged: good ? null : ['"file"'] })
    const damaged = good ? [] : [{ path: '"file"', reason: 'content' as const, blocks: 1 }]
    return { filesChecked: 1, bytesRead: tree.length, damaged, damagedCount: damaged.length }
  }

  async recover() {}

  async mount(id: string) {
    this.#require(id)
    this.mountedIds.add(id)
    return this.mountpoint(id)
  }

  async unmount(id: string) {
    if (this.unmountError !== null && this.mountedIds.has(id)) throw this.unmountError
    this.mountedIds.delete(id)
  }

  mountpoint(id: string) {
    return `/mnt/${id}`
  }

  async mounted() {
    return new Set(this.mountedIds)
  }

  async trash(id: string) {
    this.#write()
    if (this.mountedIds.has(id)) throw new WherryError('VOLUME_IN_USE', 'mounted')
    if (this.#copies.delete(id)) this.inTrash.add(id)
    this.trees.delete(id)
  }

  async emptyTrash() {
    return []
  }

  async dropStage(id: string) {
    this.#staged.delete(id)
  }

  #require(id: string): LocalCopy {
    const copy = this.#copies.get(id)
    if (copy === undefined) throw new Error(`no copy ${id}`)
    return copy
  }
}
