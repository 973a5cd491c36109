import { WherryError } from '../../../agent/model/errors.ts'
import type { Checkpoint } from '../../../agent/model/model.ts'
import type { Clock } from '../../../agent/runtime/clock.ts'
import { KeyedQueue } from '../../../agent/runtime/keyed-queue.ts'
import type { Capture, LocalCopy, RemovedCopy, SpoolRound, Store, Verification } from '../../../agent/store/contract.ts'
import { bareCopy } from '../../../agent/store/disk/new-copy.ts'
import type { SnapshotRef } from '../../../agent/store/tree-contract.ts'

/** Here a tree is a string, and crosses the network in one write. */
export const hashOf = (tree: string) => `hash of ${tree}`

/** How long the trash is kept. */
const RETENTION_MS = 7 * 86_400_000

const never = new AbortController().signal

/**
 * One host's disk. It survives the host's agent: a new one may be started on it. Keeps to the contract of the real
 * store, see test/unit/store/contract.
 */
export class MemoryStore implements Store {
  /** Why no tracker tells what changes; null: one does. */
  scanned: string | null = 'the tree is in memory'
  readonly trees = new Map<string, string>()
  readonly inTrash = new Set<string>()
  /** What lies in the trash or was set aside. */
  readonly leftOvers: RemovedCopy[] = []
  /** Trees that were set aside, by id. */
  readonly setAsideTrees = new Map<string, string>()
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
  /** Set: the directories of copies cannot be listed. */
  copiesError: Error | null = null
  /** Copies whose records cannot be read. */
  readonly unreadable = new Set<string>()
  /** Set: no look at a tree succeeds. */
  captureError: Error | null = null
  /** Set: the kernel refuses to unmount. */
  unmountError: Error | null = null
  /** Set: the stage refuses with it. */
  stageError: WherryError | null = null
  readonly #clock: Clock
  readonly #lanes = new KeyedQueue()
  readonly #copies = new Map<string, LocalCopy>()
  readonly #staged = new Map<string, string>()
  readonly #captured = new Map<string, string>()
  /** Trees of the last quiet look or apply, and of the last live one, by id. */
  readonly #last = new Map<string, string>()
  readonly #live = new Map<string, string>()
  /** Trees as they were frozen, by id. */
  readonly frozen = new Map<string, string>()
  /** Checkpoints of held volumes, by id. */
  readonly spooled = new Map<string, string>()
  /** Trees that other hosts may read although nothing of them could be written here, by id. */
  readonly #asides = new Map<string, string>()
  /** Diverged trees, by id and name. */
  readonly aside = new Map<string, string>()
  /** Verifications that run: they give way to whatever else is wanted of a tree. */
  readonly #scrubs = new Map<string, AbortController>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  async copies() {
    // As a disk is read: what changes while it takes its time may be in it or not, and here it is not.
    const all = [...this.#copies.values()]
    await this.#wait(this.copiesMs, never)
    if (this.copiesError !== null) throw this.copiesError
    const copies = all.filter(({ id }) => !this.unreadable.has(id))
    const damaged = [...this.unreadable].map((id) => ({ path: `/state/volumes/${id}`, reason: 'EIO' }))
    return { copies, damaged }
  }

  async copy(id: string) {
    this.#requireReadable(id)
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
    this.#requireReadable(id)
    this.#require(id)
    await this.#wait(this.updateMs, never)
    this.#write()
    const before = this.#require(id)
    const copy = { ...before, ...change, id, epochSeen: Math.max(before.epochSeen, change.epochSeen ?? 0) }
    this.#copies.set(id, copy)
    return copy
  }

  capture(id: string, kind: 'quiet' | 'live', signal: AbortSignal): Promise<Capture> {
    return this.#inTurn(id, async () => {
      signal.throwIfAborted()
      const { checkpoint } = kind === 'quiet' ? this.#requireFinished(id) : this.#requireWhole(id)
      if (kind === 'quiet') this.captures++
      this.#write()
      const before = this.#tree(id)
      await this.#wait(this.captureMs, signal)
      signal.throwIfAborted()
      this.#requirePlain()
      const tree = this.#tree(id)
      if (kind === 'live') this.#live.set(id, tree)
      else {
        if (tree !== before) throw new WherryError('TREE_CHANGED', `${id} was written to`)
        this.#last.set(id, tree)
        this.#live.delete(id)
        this.#dropSpool(id)
        await this.#judge(id, tree, checkpoint)
      }
      return captureOf(tree)
    })
  }

  captureAside(id: string, signal: AbortSignal): Promise<Capture> {
    return this.#inTurn(id, async () => {
      signal.throwIfAborted()
      this.#requireWhole(id)
      const before = this.#tree(id)
      await this.#wait(this.captureMs, signal)
      signal.throwIfAborted()
      this.#requirePlain()
      const tree = this.#tree(id)
      if (tree !== before) throw new WherryError('TREE_CHANGED', `${id} was written to`)
      this.#asides.set(id, tree)
      return captureOf(tree)
    })
  }

  async probe(): Promise<void> {
    this.#write()
  }

  spoolRound(id: string, signal: AbortSignal = never): Promise<SpoolRound> {
    return this.#inTurn(id, async () => {
      signal.throwIfAborted()
      const { checkpoint } = this.#requireHeld(id)
      this.#write()
      this.#requirePlain()
      this.frozen.delete(id)
      this.#captured.delete(id)
      const tree = this.#tree(id)
      const changed = checkpoint?.hash !== hashOf(tree)
      return { changed, bytesRead: tree.length, bytesSpooled: changed ? tree.length : 0, scanned: this.scanned }
    })
  }

  spoolFreeze(id: string, kind: 'quiet' | 'live', signal: AbortSignal): Promise<void> {
    return this.#inTurn(id, async () => {
      signal.throwIfAborted()
      this.#requireHeld(id)
      this.frozen.delete(id)
      this.#captured.delete(id)
      const before = this.#tree(id)
      await this.#wait(this.captureMs, signal)
      signal.throwIfAborted()
      const tree = this.#tree(id)
      if (kind === 'quiet' && tree !== before) throw new WherryError('TREE_CHANGED', `${id} was written to`)
      this.frozen.set(id, tree)
    })
  }

  spoolLast(id: string, signal: AbortSignal): Promise<Capture> {
    return this.#inTurn(id, async () => {
      this.#requireHeld(id)
      const tree = this.frozen.get(id)
      if (tree === undefined) throw new WherryError('HASH_MISMATCH', 'nothing is frozen')
      this.frozen.delete(id)
      signal.throwIfAborted()
      this.#captured.set(id, tree)
      return captureOf(tree)
    })
  }

  async spoolThaw(id: string): Promise<void> {
    await this.#inTurn(id, async () => void this.frozen.delete(id))
  }

  spoolCommit(id: string, checkpoint: Checkpoint): Promise<void> {
    return this.#inTurn(id, async () => {
      const { checkpoint: standing } = this.#requireHeld(id)
      const tree = this.#captured.get(id)
      const isNew = standing?.hash !== checkpoint.hash
      if (isNew && (tree === undefined || hashOf(tree) !== checkpoint.hash))
        throw new WherryError('HASH_MISMATCH', 'not that one')
      await this.update(id, { checkpoint, epochSeen: checkpoint.epoch })
      if (!isNew || tree === undefined) return
      this.#captured.delete(id)
      this.spooled.set(id, tree)
      this.#atCheckpoint(id, tree)
    })
  }

  diverge(id: string, at: string, bytes: number | null): Promise<LocalCopy> {
    return this.#inTurn(id, async () => {
      const { held, epochSeen, checkpoint, diverged } = this.#require(id)
      this.#requireUnmounted(id)
      this.#write()
      const name = `${held?.epoch ?? epochSeen}-${diverged.length}`
      this.aside.set(`${id}/${name}`, this.#tree(id))
      this.#forget(id)
      this.trees.set(id, '')
      const base = checkpoint === null ? null : { epoch: checkpoint.epoch, seq: checkpoint.seq }
      const put = { name, epoch: held?.epoch ?? epochSeen, base, at, bytes }
      const bare = { held: null, checkpoint: null, damaged: null, applying: false, mounts: {} }
      return await this.update(id, { ...bare, diverged: [...diverged, put] })
    })
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

  /** What another host gets; `tree` null: not all of it is to be had, because the tree has moved on. */
  async give(id: string, kind: SnapshotRef['kind']): Promise<{ hash: string; tree: string | null }> {
    const manifest = this.#kept(id, kind)
    if (manifest === undefined) throw new WherryError('NOT_AT_CHECKPOINT', `${id} has no ${kind} manifest`)
    const here = [...(kind === 'spool' ? [this.spooled.get(id)] : []), this.#tree(id)]
    return { hash: hashOf(manifest), tree: here.includes(manifest) ? manifest : null }
  }

  apply(id: string, checkpoint: Checkpoint): Promise<void> {
    return this.#inTurn(id, async () => {
      const { held } = this.#require(id)
      this.#requireUnmounted(id)
      if (held !== null) throw new WherryError('VOLUME_IN_USE', `${id} is held`)
      const tree = this.#staged.get(id)
      if (tree === undefined) throw new WherryError('STAGE_INCOMPLETE', `nothing was received of ${id}`)
      if (hashOf(tree) !== checkpoint.hash) throw new WherryError('HASH_MISMATCH', 'not that one')
      this.#dropSpool(id)
      this.trees.set(id, tree)
      this.#atCheckpoint(id, tree)
      await this.update(id, { checkpoint, applying: false, damaged: null, epochSeen: checkpoint.epoch })
      this.#staged.delete(id)
    })
  }

  async verify(id: string, signal: AbortSignal): Promise<Verification> {
    const wanted = new AbortController()
    const running = this.#inTurn(id, async () => {
      const stop = AbortSignal.any([signal, wanted.signal])
      const { held, checkpoint } = this.#require(id)
      if (held !== null) throw new WherryError('VOLUME_IN_USE', `${id} is held`)
      this.#requireUnmounted(id)
      stop.throwIfAborted()
      const should = checkpoint?.hash ?? (this.#last.has(id) ? hashOf(this.#last.get(id) ?? '') : null)
      if (should === null) throw new WherryError('NOT_AT_CHECKPOINT', `${id} was never at a checkpoint`)
      await this.#wait(this.captureMs, stop)
      stop.throwIfAborted()
      const tree = this.#tree(id)
      const good = should === hashOf(tree)
      await this.update(id, { damaged: good ? null : ['"file"'] })
      const damaged = good ? [] : [{ path: '"file"', reason: 'content' as const, detail: null, blocks: 1 }]
      return { filesChecked: 1, bytesRead: tree.length, damaged, damagedCount: damaged.length }
    })
    this.#scrubs.set(id, wanted)
    return await running.finally(() => {
      if (this.#scrubs.get(id) === wanted) this.#scrubs.delete(id)
    })
  }

  async recover() {
    for (const { id, held } of this.#copies.values()) if (held === null) this.#dropSpool(id)
  }

  mount(id: string) {
    return this.#inTurn(id, async () => {
      this.#requireWhole(id)
      this.mountedIds.add(id)
      return this.mountpoint(id)
    })
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

  trash(id: string) {
    return this.#inTurn(id, async () => {
      this.#requireUnmounted(id)
      this.#write()
      const copy = this.#copies.get(id)
      if (copy !== undefined) {
        const until = new Date(this.#clock.now().getTime() + RETENTION_MS).toISOString()
        this.leftOvers.push({ id, name: copy.name, directory: `trash/${id}`, until })
        this.inTrash.add(id)
      }
      this.#copies.delete(id)
      this.#forget(id)
    })
  }

  setAside(id: string) {
    return this.#inTurn(id, async () => {
      this.#requireUnmounted(id)
      this.#write()
      const { name } = this.#require(id)
      const directory = `set-aside/${name}-${id}`
      this.leftOvers.push({ id, name, directory, until: null })
      this.setAsideTrees.set(id, this.#tree(id))
      this.#copies.delete(id)
      this.#forget(id)
      return directory
    })
  }

  async removed() {
    if (this.copiesError !== null) throw this.copiesError
    return [...this.leftOvers]
  }

  async emptyTrash() {
    return []
  }

  async dropStage(id: string) {
    this.#staged.delete(id)
  }

  /** What was only in the memory of the agent is gone with it. */
  agentEnded(): void {
    this.frozen.clear()
    this.#captured.clear()
    this.#asides.clear()
  }

  /** One thing after another is done with a tree. */
  #inTurn<T>(id: string, work: () => Promise<T>): Promise<T> {
    this.#scrubs.get(id)?.abort(new WherryError('VOLUME_IN_USE', 'wanted'))
    return this.#lanes.run(id, work)
  }

  #write(): void {
    if (this.unwritable === null) return
    throw Object.assign(new Error(`${this.unwritable}: cannot write`), { code: this.unwritable, syscall: 'open' })
  }

  #requirePlain(): void {
    if (this.captureError !== null) throw this.captureError
  }

  async #wait(ms: number, signal: AbortSignal): Promise<void> {
    if (ms > 0) await this.#clock.sleep(ms, signal)
  }

  #tree(id: string): string {
    return this.trees.get(id) ?? ''
  }

  /** The tree whose manifest is kept. */
  #kept(id: string, kind: SnapshotRef['kind']): string | undefined {
    const { checkpoint } = this.#requireWhole(id)
    if (kind === 'live') return this.#live.get(id)
    const last = this.#last.get(id)
    if (kind === 'last') return last
    if (kind === 'aside') return this.#asides.get(id)
    return last !== undefined && hashOf(last) === checkpoint?.hash ? last : undefined
  }

  #atCheckpoint(id: string, tree: string): void {
    this.#last.set(id, tree)
    this.#live.delete(id)
  }

  #dropSpool(id: string): void {
    this.frozen.delete(id)
    this.#captured.delete(id)
    this.spooled.delete(id)
  }

  #forget(id: string): void {
    this.#dropSpool(id)
    for (const map of [this.trees, this.#staged, this.#last, this.#live]) map.delete(id)
  }

  #requireReadable(id: string): void {
    if (this.unreadable.has(id)) throw new WherryError('COPY_DAMAGED', `volume.json of ${id} cannot be understood.`)
  }

  #requireUnmounted(id: string): void {
    if (this.mountedIds.has(id)) throw new WherryError('VOLUME_IN_USE', `${id} is mounted`)
  }

  #require(id: string): LocalCopy {
    const copy = this.#copies.get(id)
    if (copy === undefined) throw new WherryError('NOT_AT_CHECKPOINT', `no copy ${id}`)
    return copy
  }

  #requireFinished(id: string): LocalCopy {
    const copy = this.#require(id)
    if (copy.applying) throw new WherryError('COPY_DAMAGED', `${id} is not whole`)
    return copy
  }

  #requireWhole(id: string): LocalCopy {
    const copy = this.#requireFinished(id)
    if (copy.damaged !== null) throw new WherryError('COPY_DAMAGED', `${id} is not whole`)
    return copy
  }

  /** An idle copy is damaged exactly if it is not at its checkpoint. */
  async #judge(id: string, tree: string, checkpoint: Checkpoint | null): Promise<void> {
    const { held, damaged, checkpoint: now } = this.#require(id)
    if (checkpoint === null || held !== null || now?.hash !== checkpoint.hash) return
    const isWhole = hashOf(tree) === checkpoint.hash
    if (isWhole !== (damaged === null)) await this.update(id, { damaged: isWhole ? null : ['"file"'] })
  }

  #requireHeld(id: string): LocalCopy {
    const copy = this.#requireWhole(id)
    if (copy.held === null) throw new WherryError('STALE_EPOCH', `${id} is not held`)
    return copy
  }
}

function captureOf(tree: string): Capture {
  return { hash: hashOf(tree), bytes: tree.length, files: tree === '' ? 0 : 1, filesRead: 0, bytesRead: 0 }
}
