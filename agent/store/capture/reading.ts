import { createHash } from 'node:crypto'
import { closeSync } from 'node:fs'
import { errnoName, failureOf, SystemCallError } from '../../sys/failure.ts'
import { cleanPages, readByPages, willRead } from '../../sys/files.ts'
import { StatBuffer, statAt } from '../../sys/stat.ts'
import { blockBytesOf, blockCountOf, HASH_BYTES } from '../blocks.ts'
import { type HeldDirectory, openFile } from '../inode/directory.ts'
import { isMovedAway, lookAgain, movedAway, type State, sameState } from '../inode/inode.ts'
import { type BytePath, joinPath, printable } from '../path.ts'
import type { BlockPool } from '../pool/contract.ts'
import type { KeptTree } from '../snapshot/kept.ts'
import { hashOfList } from '../snapshot/lists.ts'
import type { FileChanges } from '../tracker/contract.ts'
import type { Audit } from './audit.ts'
import { ChangedBlocks } from './changed-blocks.ts'
import { Slots } from './slots.ts'
import type { SnapshotBuilder } from './snapshot-builder.ts'

/** What one message to the pool names at most: enough that its cost does not count, little enough to spread over the threads. */
const BATCH_FILES = 128
const BATCH_BYTES = 1024 * 1024
/** Bytes of a large file that are hashed in one go: about 15 ms of a thread. */
const RANGE_BYTES = 16 * 1024 * 1024
/** Tasks under way for each thread of the pool: one that is worked at, one that waits. */
const TASKS_PER_THREAD = 2
/** Open at once; a range of each keeps the threads busy. */
const LARGE_FILES = 8
/** An outcome of the pool: the size is not what it was. */
const OTHER_SIZE = 1

/** Where the walk is: a directory with those of its files that wait for being read together. */
export interface Place {
  readonly held: HeldDirectory
  readonly path: BytePath
  batch: Unread[]
  batchBytes: number
}

/** A file that is in the snapshot and lacks its content's hash. */
export interface Unread {
  readonly index: number
  readonly name: BytePath
  /** As it was when it was described. */
  readonly state: State
}

/** A large file as it was when it was read before: its blocks that are the same still are not hashed again. */
export interface Former {
  readonly tree: KeptTree
  readonly index: number
  /** What was written to since. */
  readonly changes: FileChanges
  readonly ino: bigint
}

export interface UnreadLarge extends Unread {
  /** Where its list goes. */
  readonly listOffset: number
  readonly former: Former | null
}

interface ReadingOptions {
  readonly pool: BlockPool
  readonly signal: AbortSignal
  /** What is not the same after it was read throws this; null: it is fuzzy or left out instead. */
  readonly changed: ((directory: BytePath, name: BytePath) => Error) | null
  /** Whether a state that stayed the same is final. */
  readonly isFinal: (state: State) => boolean
  /** Whether what is read is to be exact as of a mark, see TreeChanges. */
  readonly marked: boolean
  /** Reads some of what nobody is known to have written to. */
  readonly audit: Audit
}

/** Has the pool read files while the walk goes on, many at a time but a bounded number, and puts their hashes into the snapshot. */
export class FileReading {
  filesRead = 0
  bytesRead = 0
  /** Entries that could not be read any more and are to be left out. */
  readonly missing = new Set<number>()
  readonly #out: SnapshotBuilder
  readonly #options: ReadingOptions
  readonly #tasks: Slots
  readonly #largeFiles = new Slots(LARGE_FILES)
  readonly #running = new Set<Promise<void>>()
  readonly #stat = new StatBuffer()
  #failure: { readonly error: unknown } | undefined

  constructor(out: SnapshotBuilder, options: ReadingOptions) {
    this.#out = out
    this.#options = options
    this.#tasks = new Slots(options.pool.threads * TASKS_PER_THREAD)
  }

  /** Has a small file read, soon. Answers a promise when the caller must wait because enough are under way. */
  small(place: Place, file: Unread): Promise<void> | undefined {
    place.batch.push(file)
    place.batchBytes += file.state.sizeBytes
    return place.batch.length >= BATCH_FILES || place.batchBytes >= BATCH_BYTES ? this.flush(place) : undefined
  }

  /** Sends off what waits in a place. */
  flush(place: Place): Promise<void> | undefined {
    return place.batch.length === 0 ? undefined : this.#send(place)
  }

  /** Gives up what still waits in a place: the walk was cut off. */
  abandon(place: Place): void {
    for (const { index } of place.batch.splice(0)) this.missing.add(index)
  }

  async #send(place: Place): Promise<void> {
    const files = place.batch.splice(0)
    place.batchBytes = 0
    await this.beside(place, async () => {
      if (!this.#options.signal.aborted) return await this.#readSmall(place, files)
      for (const { index } of files) this.missing.add(index)
    })
  }

  /** Has a large file read; waits while many are. */
  large(place: Place, file: UnreadLarge, allocatedBytes: number): Promise<void> {
    return this.beside(place, () => this.#readLarge(place, file, allocatedBytes), this.#largeFiles)
  }

  /** Lets `work` at files of a place go on while the walk does; waits while enough is under way. */
  async beside(place: Place, work: () => Promise<void>, slots = this.#tasks): Promise<void> {
    await slots.take()
    this.#run(place, slots, work)
    this.#rethrow()
  }

  /** Waits for all that is under way; rejects with the first error there was. */
  async finish(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running)
    this.#rethrow()
  }

  /** Lets something go on while the walk does; its error is thrown at the walk's next step. */
  #run(place: Place, slots: Slots, work: () => Promise<void>): void {
    place.held.hold()
    const run = async () => {
      try {
        await work()
      } catch (error) {
        this.#failure ??= { error }
      } finally {
        place.held.release()
        slots.give()
      }
    }
    const running = run()
    this.#running.add(running)
    void running.then(() => this.#running.delete(running))
  }

  #rethrow(): void {
    if (this.#failure !== undefined) throw this.#failure.error
  }

  async #readSmall(place: Place, files: readonly Unread[]): Promise<void> {
    const names = files.map(({ name }) => name)
    const sizes = files.map(({ state }) => state.sizeBytes)
    const { hashes, outcomes } = await this.#options.pool.hashFiles(place.held.fd, names, sizes)
    for (const [nth, file] of files.entries()) {
      const outcome = outcomes[nth] ?? 0
      this.filesRead++
      this.bytesRead += file.state.sizeBytes
      if (outcome === 0) this.#settle(place, file, hashes.subarray(nth * HASH_BYTES, (nth + 1) * HASH_BYTES))
      else if (outcome === OTHER_SIZE) await this.#readFuzzy(place, file)
      else this.#lost(place, file, errnoName(outcome))
    }
  }

  /** The file changed its size since it was looked at: what stands there now, up to the size it had. */
  async #readFuzzy(place: Place, file: Unread): Promise<void> {
    this.#refuse(place, file)
    const fd = this.#open(place, file)
    if (fd === undefined) return
    try {
      this.#settle(place, file, await this.#options.pool.hashBlocks(fd, file.state.sizeBytes, 0, 1))
    } finally {
      closeSync(fd)
    }
  }

  async #readLarge(place: Place, file: UnreadLarge, allocatedBytes: number): Promise<void> {
    const fd = this.#open(place, file)
    if (fd === undefined) return
    try {
      this.filesRead++
      const hashing = async () => {
        const known = await this.#hashChanged(fd, file)
        if (known !== null) return known
        if (this.#options.marked) await prepare(fd)
        this.bytesRead += Math.min(file.state.sizeBytes, allocatedBytes)
        return await this.#hashRanges(fd, file)
      }
      const hash = await hashing().catch((error: unknown) => {
        throw failureOf(printable(joinPath(place.path, file.name)), error)
      })
      if (hash === null) this.missing.add(file.index)
      else this.#settle(place, file, hash)
    } finally {
      closeSync(fd)
    }
  }

  /** As `#hashRanges`, of a file of which is known what was written to since it was read before; null: it is not. */
  async #hashChanged(fd: number, file: UnreadLarge): Promise<Buffer | null> {
    const { listOffset, former } = file
    const { sizeBytes } = file.state
    if (former === null || former.changes === null || former.changes === 'all') return null
    // Another file may have taken its name since it was described.
    statAt(fd, '', this.#stat)
    if (this.#stat.ino !== former.ino) return null
    const changed = await ChangedBlocks.of(former.tree, former.index, former.changes, sizeBytes)
    if (changed === null) return null
    if (this.#options.marked && changed.blocks.length > 0) await cleanPages(fd)
    await changed.rehash(fd, this.#options.pool, this.#tasks, this.#options.marked)
    this.bytesRead += changed.bytes
    await this.#options.audit.look(fd, this.#options.pool, file.name, former.ino, changed)
    this.#out.writeList(file.index, listOffset, sizeBytes, changed)
    return hashOfList(changed.hashes)
  }

  /** Hash of a large file's list, which is written on the way; null when the signal aborted. */
  async #hashRanges(fd: number, { state: { sizeBytes }, listOffset, former }: UnreadLarge): Promise<Buffer | null> {
    await using known = (await former?.tree.lists.known(former.index, sizeBytes)) ?? null
    const blocks = blockCountOf(sizeBytes)
    const step = RANGE_BYTES / blockBytesOf(sizeBytes)
    const hash = createHash('sha256')
    const ready = new Map<number, Buffer>()
    let hashed = 0
    const range = async (first: number) => {
      try {
        const count = Math.min(step, blocks - first)
        const before = (await known?.range(first, count)) ?? null
        const range = await this.#options.pool.rehashBlocks(fd, sizeBytes, first, count, before)
        this.#out.writeBlocks(listOffset, sizeBytes, first, range)
        ready.set(first, range.hashes)
        for (let next = ready.get(hashed); next !== undefined; next = ready.get(hashed)) {
          hash.update(next)
          ready.delete(hashed)
          hashed += step
        }
      } finally {
        this.#tasks.give()
      }
    }
    const ranges: Promise<void>[] = []
    for (let first = 0; first < blocks && !this.#stopped; first += step) {
      await this.#tasks.take()
      if (this.#options.marked) await willRead(fd, first * blockBytesOf(sizeBytes), RANGE_BYTES)
      if (this.#stopped) this.#tasks.give()
      else ranges.push(range(first))
    }
    const results = await Promise.allSettled(ranges)
    for (const result of results) if (result.status === 'rejected') throw result.reason
    return hashed < blocks ? null : hash.digest()
  }

  get #stopped(): boolean {
    return this.#options.signal.aborted || this.#failure !== undefined
  }

  #open(place: Place, file: Unread): number | undefined {
    try {
      return openFile(place.held.fd, file.name)
    } catch (error) {
      if (!movedAway(error)) throw error
      this.#lost(place, file)
      return undefined
    }
  }

  /** Looks at a file again after it was read. */
  #settle(place: Place, file: Unread, hash: Buffer): void {
    if (!lookAgain(place.held.fd, file.name, this.#stat) || this.#stat.kind !== 'file') {
      this.#lost(place, file)
      return
    }
    const same = sameState(file.state, this.#stat)
    if (!same) this.#refuse(place, file)
    this.#out.setRead(file.index, hash, same && this.#options.isFinal(file.state))
  }

  #lost(place: Place, file: Unread, errno?: string): void {
    // The pool answers EINVAL for what is no regular file any more.
    if (errno !== undefined && errno !== 'EINVAL' && !isMovedAway(errno))
      throw new SystemCallError('read', printable(joinPath(place.path, file.name)), errno)
    this.#refuse(place, file)
    this.missing.add(file.index)
  }

  #refuse(place: Place, file: Unread): void {
    if (this.#options.changed !== null) throw this.#options.changed(place.path, file.name)
  }
}

/** Makes all pages clean at a moment from now on; and as a write to a folio dirties all of it, those that are read now shall be small. */
async function prepare(fd: number): Promise<void> {
  await cleanPages(fd)
  readByPages(fd)
}
