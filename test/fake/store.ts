import type { Checkpoint } from '../../agent/model/model.ts'
import type { Capture, LocalCopy, SpoolRound, Store, Verification } from '../../agent/store/contract.ts'
import type { SnapshotRef } from '../../agent/store/tree-contract.ts'
import { FakeCopies, type TreeWork } from './copies.ts'
import type { Shelf } from './disk.ts'
import { STORE_REFUSALS } from './store-refusals.ts'

/** What a store may have kept of a tree: `frozen` for a capture, `spool` of a checkpoint, `live` of a live capture. */
export type KeptContent = 'frozen' | 'spool' | 'live'

/**
 * The store double of unit tests and simulator, over trees of any kind. It keeps to the contract of the real store
 * (test/unit/store/contract).
 */
export abstract class FakeStore<T> extends FakeCopies<T> implements Store {
  /** Why no tracker knows what changes; null: one does. */
  scanned: string | null = null
  /** Set: no capture of any tree succeeds. */
  captureError: Error | null = null

  /** Whether all content of a kept manifest can still be had. `isSame`: the tree has not changed since. */
  protected abstract has(kept: KeptContent, isSame: boolean): boolean

  capture(id: string, kind: 'quiet' | 'live', signal: AbortSignal): Promise<Capture> {
    return this.turns.run(id, async () => {
      signal.throwIfAborted()
      const shelf = kind === 'quiet' ? this.requireFinished(id) : this.requireWhole(id)
      const before = shelf.tree
      const { checkpoint } = shelf.record
      this.requireWritable()
      await this.#scan(kind, signal)
      this.requireWritable()
      this.#requireSupported(shelf)
      if (kind === 'live') {
        shelf.live = before
        return this.#captureOf(before)
      }
      if (shelf.tree !== before) throw STORE_REFUSALS.changed(shelf.record.name)
      this.disk.sync(shelf)
      this.disk.keep(shelf, before)
      this.disk.dropSpool(shelf)
      shelf.aside = null
      await this.#judge(shelf, checkpoint)
      return this.#captureOf(before)
    })
  }

  captureAside(id: string, signal: AbortSignal): Promise<Capture> {
    return this.turns.run(id, async () => {
      signal.throwIfAborted()
      const shelf = this.requireWhole(id)
      const before = shelf.tree
      await this.#scan('aside', signal)
      this.#requireSupported(shelf)
      if (shelf.tree !== before) throw STORE_REFUSALS.changed(shelf.record.name)
      shelf.aside = before
      return this.#captureOf(before)
    })
  }

  spoolRound(id: string, signal: AbortSignal): Promise<SpoolRound> {
    return this.turns.run(id, async () => {
      signal.throwIfAborted()
      const shelf = this.requireHeld(id)
      shelf.frozen = null
      shelf.captured = null
      this.requireSpace(shelf.record.name)
      await this.#scan('round', signal)
      this.requireWritable()
      this.#requireSupported(shelf)
      const changed = this.disk.model.hashOf(shelf.tree) !== shelf.record.checkpoint?.hash
      const bytes = changed ? this.disk.model.scannedBytesOf(shelf.tree) : 0
      return { changed, bytesRead: bytes, bytesSpooled: bytes, scanned: this.scanned }
    })
  }

  spoolFreeze(id: string, kind: 'quiet' | 'live', signal: AbortSignal): Promise<void> {
    return this.turns.run(id, async () => {
      signal.throwIfAborted()
      const shelf = this.requireHeld(id)
      this.requireSpace(shelf.record.name)
      shelf.frozen = null
      shelf.captured = null
      const before = shelf.tree
      await this.#scan('freeze', signal)
      this.requireWritable()
      this.#requireSupported(shelf)
      if (kind === 'quiet' && shelf.tree !== before) throw STORE_REFUSALS.changed(shelf.record.name)
      // A live freeze syncs as well; what was written after `before` is safe a little early.
      this.disk.sync(shelf)
      shelf.frozen = before
    })
  }

  spoolLast(id: string, signal: AbortSignal): Promise<Capture> {
    return this.turns.run(id, async () => {
      const shelf = this.requireHeld(id)
      const { frozen } = shelf
      shelf.frozen = null
      if (frozen === null) throw STORE_REFUSALS.notFrozen(shelf.record.name)
      signal.throwIfAborted()
      this.requireSpace(shelf.record.name)
      await this.#scan('last', signal)
      if (!this.has('frozen', shelf.tree === frozen)) throw STORE_REFUSALS.changed(shelf.record.name)
      shelf.captured = frozen
      return this.#captureOf(frozen)
    })
  }

  spoolThaw(id: string): Promise<void> {
    return this.turns.run(id, async () => {
      const shelf = this.disk.shelf(id)
      if (shelf !== undefined) shelf.frozen = null
    })
  }

  spoolCommit(id: string, checkpoint: Checkpoint): Promise<void> {
    return this.turns.run(id, async () => {
      const shelf = this.requireHeld(id)
      const { captured } = shelf
      const isNew = shelf.record.checkpoint?.hash !== checkpoint.hash
      if (isNew && (captured === null || this.disk.model.hashOf(captured) !== checkpoint.hash))
        throw STORE_REFUSALS.mismatch(shelf.record.name, checkpoint)
      this.requireSpace(shelf.record.name)
      await this.durably('record', id, () => {
        this.disk.update(shelf, { checkpoint, epochSeen: checkpoint.epoch })
        if (!isNew || captured === null) return
        this.disk.keep(shelf, captured)
        shelf.captured = null
        shelf.spooled = captured
      })
    })
  }

  diverge(id: string, at: string, bytes: number | null): Promise<LocalCopy> {
    return this.turns.run(id, async () => {
      this.requireUnmounted(id)
      this.requireNoWriter(id)
      const shelf = this.requireFinished(id)
      const { record } = shelf
      const base = record.checkpoint === null ? null : { epoch: record.checkpoint.epoch, seq: record.checkpoint.seq }
      const epoch = record.held?.epoch ?? record.epochSeen
      const name = `${epoch}-${base?.seq ?? 0}-${record.diverged.length}`
      return this.durably('record', id, () => {
        this.disk.diverge(shelf, name)
        const bare = { checkpoint: null, held: null, applying: false, damaged: null, mounts: {} }
        return this.disk.update(shelf, { ...bare, diverged: [...record.diverged, { name, epoch, base, at, bytes }] })
      })
    })
  }

  apply(id: string, checkpoint: Checkpoint): Promise<void> {
    return this.turns.run(id, async () => {
      const shelf = this.require(id)
      this.requireIdle(shelf)
      this.disk.dropSpool(shelf)
      if (shelf.journal === null || shelf.journal.checkpoint.hash !== checkpoint.hash) {
        const { staged } = shelf
        if (staged === null) throw STORE_REFUSALS.nothingStaged(shelf.record.name)
        if (this.disk.model.hashOf(staged) !== checkpoint.hash)
          throw STORE_REFUSALS.mismatch(shelf.record.name, checkpoint)
        this.requireSpace(shelf.record.name)
        await this.durably('tree', id, () => {
          shelf.journal = { checkpoint, target: staged }
          this.disk.update(shelf, { applying: true })
        })
      }
      await this.#finishApply(shelf)
    })
  }

  /** Gives way to whatever else is wanted of the tree, as the real one does. */
  verify(id: string, signal: AbortSignal): Promise<Verification> {
    return this.turns.scrub(id, async (stop) => {
      const shelf = this.requireFinished(id)
      this.requireIdle(shelf)
      const { record, kept } = shelf
      const { hashOf, scannedBytesOf } = this.disk.model
      const expected = record.checkpoint?.hash ?? (kept === null ? null : hashOf(kept))
      if (expected === null) throw STORE_REFUSALS.noManifest(record.name, 'last')
      const either = AbortSignal.any([signal, stop])
      either.throwIfAborted()
      await this.#scan('verify', either)
      const { tree } = shelf
      const isWhole = expected === hashOf(tree)
      await this.durably('record', id, () => this.disk.update(shelf, { damaged: isWhole ? null : ['"file"'] }))
      const damaged = isWhole ? [] : [{ path: '"file"', reason: 'content' as const, detail: null, blocks: 1 }]
      return { filesChecked: 1, bytesRead: scannedBytesOf(tree), damaged, damagedCount: damaged.length }
    })
  }

  /** The tree whose kept manifest another host gets. */
  manifest(id: string, kind: SnapshotRef['kind']): T {
    const { kept, live, aside, record } = this.requireWhole(id)
    const isCheckpoint = kept !== null && this.disk.model.hashOf(kept) === record.checkpoint?.hash
    const found = { last: kept, spool: isCheckpoint ? kept : null, live, aside }[kind]
    if (found === null) throw STORE_REFUSALS.noManifest(record.name, kind)
    return found
  }

  /** Whether all content of a manifest can be had: the tree may have changed, and a spool may lack what is older. */
  delivers(id: string, kind: SnapshotRef['kind'], manifest: T): boolean {
    const shelf = this.disk.shelf(id)
    if (shelf === undefined || shelf.journal !== null) return false
    const { hashOf } = this.disk.model
    const isSame = hashOf(shelf.tree) === hashOf(manifest)
    const isSpooled = shelf.spooled !== null && hashOf(shelf.spooled) === hashOf(manifest)
    if (kind === 'live' || (kind === 'spool' && isSpooled)) return this.has(kind, isSame)
    return isSame
  }

  async recover(): Promise<void> {
    await this.read('record')
    // What cannot be finished now stays `applying`.
    if (this.disk.unwritable !== null) return
    for (const [id, shelf] of this.disk.shelves) {
      if (shelf.record.held === null) this.disk.dropSpool(shelf)
      if (shelf.journal !== null && !this.disk.mounted.has(id)) await this.#finishApply(shelf)
    }
  }

  async #finishApply(shelf: Shelf<T>): Promise<void> {
    const { journal } = shelf
    if (journal === null) return
    const { id } = shelf.record
    const { checkpoint } = journal
    await this.durably('tree', id, () => this.disk.replace(shelf, journal.target))
    await this.durably('record', id, () => {
      this.disk.update(shelf, { checkpoint, applying: false, damaged: null, epochSeen: checkpoint.epoch })
      shelf.journal = null
      shelf.staged = null
    })
  }

  /** An idle copy is damaged exactly if it is not at its checkpoint. */
  async #judge(shelf: Shelf<T>, checkpoint: Checkpoint | null): Promise<void> {
    const { id, held, damaged, checkpoint: now } = shelf.record
    if (checkpoint === null || held !== null || now?.hash !== checkpoint.hash) return
    const isWhole = this.disk.model.hashOf(shelf.tree) === checkpoint.hash
    if (isWhole !== (damaged === null)) await this.update(id, { damaged: isWhole ? null : ['"file"'] })
  }

  async #scan(what: TreeWork, signal: AbortSignal): Promise<void> {
    await this.work(what, signal)
    signal.throwIfAborted()
  }

  #requireSupported({ record }: Shelf<T>): void {
    if (this.captureError !== null) throw this.captureError
    if (this.disk.unsupported.has(record.id)) throw STORE_REFUSALS.unsupported(record.name)
  }

  #captureOf(tree: T): Capture {
    const { hashOf, bytesOf, filesOf, scannedBytesOf } = this.disk.model
    const found = { hash: hashOf(tree), bytes: bytesOf(tree), files: filesOf(tree) }
    return { ...found, filesRead: 1, bytesRead: scannedBytesOf(tree) }
  }
}
