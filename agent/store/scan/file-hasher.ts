import { closeSync } from 'node:fs'
import { forEachLimit } from '../../runtime/for-each-limit.ts'
import { Semaphore } from '../../runtime/semaphore.ts'
import { errnoName, failureOf, SystemCallError } from '../../sys/failure.ts'
import { cleanPages } from '../../sys/files.ts'
import { StatBuffer, statAt } from '../../sys/stat.ts'
import { blockBytesOf, HASH_BYTES } from '../blocks/block-size.ts'
import { openFile } from '../inode/directory.ts'
import { isMovedAway, lookAgain, movedAway, type State, sameState } from '../inode/inode.ts'
import { type BytePath, joinPath, printable } from '../manifest/byte-path.ts'
import { hashOfList } from '../snapshot/block-lists.ts'
import type { SnapshotBuilder } from '../snapshot/snapshot-builder.ts'
import type { BlockPool } from '../workers/contract.ts'
import { OTHER_CONTENT } from '../workers/outcome.ts'
import type { BlockAudit } from './audit-blocks.ts'
import type { BlockSink, ContentSink } from './content-sink.ts'
import { bytesOf, LargeFiles, type UnreadLarge } from './large-file-hasher.ts'
import type { Place, Unread } from './walk-position.ts'

/** What one message to the pool names at most: enough that its cost does not count, little enough to spread over the threads. */
const BATCH_FILES = 128
const BATCH_BYTES = 1024 * 1024
/** Tasks under way for each thread of the pool: one that is worked at, one that waits. */
const TASKS_PER_THREAD = 2
/** Open at once; a range of each keeps the threads busy. */
const LARGE_FILES = 8

/** A large file that is to be read from a clone of it. */
interface Cloned {
  readonly file: UnreadLarge
  readonly fd: number
  /** For messages. */
  readonly path: BytePath
  /** Its state stayed the same, and is final. */
  readonly clean: boolean
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
  readonly audit: BlockAudit
  /** Keeps what is read; null: nobody does. Only where what changes throws. */
  readonly keeping: ContentSink | null
  readonly keepingBlocks: BlockSink | null
}

/** Has the pool read files while the walk goes on, many at a time but a bounded number, and puts their hashes into the snapshot. */
export class FileHasher {
  filesRead = 0
  /** Entries that could not be read any more and are to be left out. */
  readonly missing = new Set<number>()
  readonly #out: SnapshotBuilder
  readonly #options: ReadingOptions
  readonly #tasks: Semaphore
  readonly #large: LargeFiles
  readonly #largeFiles = new Semaphore(LARGE_FILES)
  readonly #cloned: Cloned[] = []
  #smallBytesRead = 0
  readonly #running = new Set<Promise<void>>()
  readonly #stat = new StatBuffer()
  #failure: { readonly error: unknown } | undefined

  constructor(out: SnapshotBuilder, options: ReadingOptions) {
    this.#out = out
    this.#options = options
    const { pool, audit, keepingBlocks } = options
    this.#tasks = new Semaphore(pool.threads * TASKS_PER_THREAD)
    this.#large = new LargeFiles({ out, pool, tasks: this.#tasks, audit, keepingBlocks })
  }

  get bytesRead(): number {
    return this.#smallBytesRead + this.#large.bytesRead
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
    const files = place.batch
    place.batch = []
    place.batchBytes = 0
    await this.#tasks.take()
    if (this.#options.signal.aborted) {
      for (const { index } of files) this.missing.add(index)
      this.#tasks.give()
    } else this.#run(place, this.#tasks, () => this.#readSmall(place, files))
    this.#rethrow()
  }

  /** Has a large file read; waits while many are. */
  large(place: Place, file: UnreadLarge): Promise<void> {
    return this.beside(place, () => this.#readLarge(place, file), this.#largeFiles)
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

  /** Reads the files that were cloned. What the tree is by now does not matter. Rejects the signal's reason. */
  async readClones(signal: AbortSignal): Promise<void> {
    const manner = { marked: false, isStopped: () => signal.aborted }
    await forEachLimit(this.#cloned.splice(0), LARGE_FILES, async ({ file, fd, path, clean }) => {
      signal.throwIfAborted()
      const read = await this.#large.read(fd, file, manner).catch((error: unknown) => {
        throw failureOf(printable(path), error)
      })
      if (read === null) throw signal.reason
      this.#out.setRead(file.index, hashOfList(read.list), clean)
    })
  }

  /** Lets something go on while the walk does; its error is thrown at the walk's next step. */
  #run(place: Place, slots: Semaphore, work: () => Promise<void>): void {
    const { held } = place
    held.hold()
    const run = async () => {
      try {
        await work()
      } catch (error) {
        this.#failure ??= { error }
      } finally {
        held.release()
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
    const { pool, keeping } = this.#options
    const names = files.map(({ name }) => name)
    const sizes = files.map(({ state }) => state.sizeBytes)
    const { hashes, outcomes } = await (keeping ?? pool).hashFiles(place.held.fd, names, sizes)
    for (const [nth, file] of files.entries()) {
      const outcome = outcomes[nth] ?? 0
      this.filesRead++
      this.#smallBytesRead += file.state.sizeBytes
      if (outcome === 0) this.#settle(place, file, hashes.subarray(nth * HASH_BYTES, (nth + 1) * HASH_BYTES))
      else if (outcome === OTHER_CONTENT) await this.#readFuzzy(place, file)
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

  async #readLarge(place: Place, found: UnreadLarge): Promise<void> {
    const fd = this.#open(place, found)
    if (fd === undefined) return
    try {
      this.filesRead++
      const file = this.#asOpened(fd, found)
      if (await this.#clone(place, fd, file)) return
      const { marked } = this.#options
      const read = await this.#large.read(fd, file, { marked, isStopped: () => this.#stopped })
      if (read === null) {
        this.missing.add(file.index)
        return
      }
      if (!read.isKept) await this.#keep(place, fd, file, read.list)
      this.#settle(place, file, hashOfList(read.list))
    } catch (error) {
      throw failureOf(printable(joinPath(place.path, found.name)), error)
    } finally {
      closeSync(fd)
    }
  }

  /** Another file may have taken its name since it was described: what was written to since says nothing about that one. */
  #asOpened(fd: number, file: UnreadLarge): UnreadLarge {
    const { former } = file
    if (former === null) return file
    statAt(fd, '', this.#stat)
    return this.#stat.ino === former.ino ? file : { ...file, former: { ...former, changes: null } }
  }

  /** Has a file cloned to be read later; false: it has to be read now. */
  async #clone(place: Place, fd: number, file: UnreadLarge): Promise<boolean> {
    const { keeping, marked } = this.#options
    if (keeping === null) return false
    if (marked) await cleanPages(fd)
    const clone = await keeping.clone(file.index, fd, bytesOf(file))
    if (clone === null) return false
    const clean = this.#lookAgain(place, file)
    if (clean !== null) this.#cloned.push({ file, fd: clone, path: joinPath(place.path, file.name), clean })
    return true
  }

  async #keep(place: Place, fd: number, file: UnreadLarge, list: Buffer): Promise<void> {
    const { keeping } = this.#options
    const { former } = file
    const { sizeBytes } = file.state
    if (keeping === null) return
    const isComparable =
      former !== null && blockBytesOf(former.tree.manifest.sizeBytes(former.index)) === blockBytesOf(sizeBytes)
    const known = isComparable ? await former.tree.lists.list(former.index) : null
    if (!(await keeping.keepBlocks(fd, sizeBytes, list, known))) this.#refuse(place, file)
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
    const clean = this.#lookAgain(place, file)
    if (clean !== null) this.#out.setRead(file.index, hash, clean)
  }

  /** Whether a file is the same as before, and final; null: it is not there any more. */
  #lookAgain(place: Place, file: Unread): boolean | null {
    if (!lookAgain(place.held.fd, file.name, this.#stat) || this.#stat.kind !== 'file') {
      this.#lost(place, file)
      return null
    }
    const same = sameState(file.state, this.#stat)
    if (!same) this.#refuse(place, file)
    return same && this.#options.isFinal(file.state)
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
