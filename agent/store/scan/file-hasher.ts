import { closeSync } from 'node:fs'
import { forEachLimit } from '../../runtime/for-each-limit.ts'
import { Semaphore } from '../../runtime/semaphore.ts'
import { errnoName, failureOf, SystemCallError } from '../../sys/failure.ts'
import { cleanPages } from '../../sys/files.ts'
import { StatBuffer, statAt } from '../../sys/stat.ts'
import { blockBytesOf, HASH_BYTES } from '../blocks/block-size.ts'
import { openFile } from '../inode/directory.ts'
import { isMovedAway, movedAway, type State, sameState, statAgain } from '../inode/inode.ts'
import { type BytePath, joinPath, printable } from '../manifest/byte-path.ts'
import { hashOfList } from '../snapshot/block-lists.ts'
import type { SnapshotBuilder } from '../snapshot/snapshot-builder.ts'
import type { BlockPool } from '../workers/contract.ts'
import { OTHER_CONTENT } from '../workers/outcome.ts'
import type { BlockAudit } from './audit-blocks.ts'
import type { BlockSink, ContentSink } from './content-sink.ts'
import { bytesToRead, LargeFileHasher, type UnreadLarge } from './large-file-hasher.ts'
import type { UnreadFile, WalkPosition } from './walk-position.ts'

/** Files in one task at most: enough to outweigh the message's cost, few enough to spread over the threads. */
const BATCH_FILES = 128
const BATCH_BYTES = 1024 * 1024
/** Tasks under way for each thread of the pool: one runs, one waits. */
const TASKS_PER_THREAD = 2
/** Large files open at once; one range of each keeps the threads busy. */
const LARGE_FILES = 8

/** A large file that is to be read from its clone. */
interface ClonedFile {
  readonly file: UnreadLarge
  readonly fd: number
  /** For messages. */
  readonly path: BytePath
  /** Its state stayed the same, and is final. */
  readonly clean: boolean
}

interface FileHasherOptions {
  readonly pool: BlockPool
  readonly signal: AbortSignal
  /** Makes the error for a file that changed while it was read; null: it is inexact or left out instead. */
  readonly changed: ((directory: BytePath, name: BytePath) => Error) | null
  /** Whether a state that stayed the same is final. */
  readonly isFinal: (state: State) => boolean
  /** Whether reads are to be exact as of a mark, see TreeChanges. */
  readonly marked: boolean
  /** Reads some blocks without a known write. */
  readonly audit: BlockAudit
  /** Copies what is read; null: nothing is copied. Only where `changed` is set. */
  readonly contentSink: ContentSink | null
  readonly blockSink: BlockSink | null
}

/**
 * Hashes files in the pool while the walk continues, a bounded number at once.
 * Adds the hashes to the snapshot.
 */
export class FileHasher {
  filesRead = 0
  /** Entries that could not be read any more and are to be left out. */
  readonly missing = new Set<number>()
  readonly #out: SnapshotBuilder
  readonly #options: FileHasherOptions
  readonly #tasks: Semaphore
  readonly #large: LargeFileHasher
  readonly #largeFiles = new Semaphore(LARGE_FILES)
  readonly #cloned: ClonedFile[] = []
  #smallBytesRead = 0
  readonly #running = new Set<Promise<void>>()
  readonly #stat = new StatBuffer()
  #failure: { readonly error: unknown } | undefined

  constructor(out: SnapshotBuilder, options: FileHasherOptions) {
    this.#out = out
    this.#options = options
    const { pool, audit, blockSink } = options
    this.#tasks = new Semaphore(pool.threads * TASKS_PER_THREAD)
    this.#large = new LargeFileHasher({ out, pool, tasks: this.#tasks, audit, blockSink })
  }

  get bytesRead(): number {
    return this.#smallBytesRead + this.#large.bytesRead
  }

  /** Hashes a small file, soon. Returns a promise when the caller must wait because enough are under way. */
  small(place: WalkPosition, file: UnreadFile): Promise<void> | undefined {
    place.batch.push(file)
    place.batchBytes += file.state.sizeBytes
    return place.batch.length >= BATCH_FILES || place.batchBytes >= BATCH_BYTES ? this.flush(place) : undefined
  }

  /** Starts the reads that wait in a directory. */
  flush(place: WalkPosition): Promise<void> | undefined {
    return place.batch.length === 0 ? undefined : this.#send(place)
  }

  /** Drops the reads that wait in a directory: the walk was cut off. */
  abandon(place: WalkPosition): void {
    for (const { index } of place.batch.splice(0)) this.missing.add(index)
  }

  async #send(place: WalkPosition): Promise<void> {
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

  /** Hashes a large file; waits while many are under way. */
  large(place: WalkPosition, file: UnreadLarge): Promise<void> {
    return this.beside(place, () => this.#readLarge(place, file), this.#largeFiles)
  }

  /** Runs `work` on files of a directory while the walk continues; waits while enough is under way. */
  async beside(place: WalkPosition, work: () => Promise<void>, slots = this.#tasks): Promise<void> {
    await slots.take()
    this.#run(place, slots, work)
    this.#rethrow()
  }

  /** Waits for all that is under way; rejects with the first error. */
  async finish(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running)
    this.#rethrow()
  }

  /** Reads the cloned files; the tree itself may have changed. Rejects the signal's reason. */
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

  /** Runs work while the walk continues; its error is thrown at the walk's next step. */
  #run(place: WalkPosition, slots: Semaphore, work: () => Promise<void>): void {
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

  async #readSmall(place: WalkPosition, files: readonly UnreadFile[]): Promise<void> {
    const { pool, contentSink } = this.#options
    const names = files.map(({ name }) => name)
    const sizes = files.map(({ state }) => state.sizeBytes)
    const { hashes, outcomes } = await (contentSink ?? pool).hashFiles(place.held.fd, names, sizes)
    for (const [nth, file] of files.entries()) {
      const outcome = outcomes[nth] ?? 0
      this.filesRead++
      this.#smallBytesRead += file.state.sizeBytes
      if (outcome === 0) this.#settle(place, file, hashes.subarray(nth * HASH_BYTES, (nth + 1) * HASH_BYTES))
      else if (outcome === OTHER_CONTENT) await this.#readFuzzy(place, file)
      else this.#lost(place, file, errnoName(outcome))
    }
  }

  /** Hashes a file whose size changed since it was described: its present content, up to the former size. */
  async #readFuzzy(place: WalkPosition, file: UnreadFile): Promise<void> {
    this.#refuse(place, file)
    const fd = this.#open(place, file)
    if (fd === undefined) return
    try {
      this.#settle(place, file, await this.#options.pool.hashBlocks(fd, file.state.sizeBytes, 0, 1))
    } finally {
      closeSync(fd)
    }
  }

  async #readLarge(place: WalkPosition, found: UnreadLarge): Promise<void> {
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

  /** Drops reported changes when another file has taken the name since: they say nothing about that file. */
  #asOpened(fd: number, file: UnreadLarge): UnreadLarge {
    const { former } = file
    if (former === null) return file
    statAt(fd, '', this.#stat)
    return this.#stat.ino === former.ino ? file : { ...file, former: { ...former, changes: null } }
  }

  /** Clones a file to be read later; false: it has to be read now. */
  async #clone(place: WalkPosition, fd: number, file: UnreadLarge): Promise<boolean> {
    const { contentSink, marked } = this.#options
    if (contentSink === null) return false
    if (marked) await cleanPages(fd)
    const clone = await contentSink.clone(file.index, fd, bytesToRead(file))
    if (clone === null) return false
    const clean = this.#statAgain(place, file)
    if (clean !== null) this.#cloned.push({ file, fd: clone, path: joinPath(place.path, file.name), clean })
    return true
  }

  async #keep(place: WalkPosition, fd: number, file: UnreadLarge, list: Buffer): Promise<void> {
    const { contentSink } = this.#options
    const { former } = file
    const { sizeBytes } = file.state
    if (contentSink === null) return
    const isComparable =
      former !== null && blockBytesOf(former.tree.manifest.sizeBytes(former.index)) === blockBytesOf(sizeBytes)
    const known = isComparable ? await former.tree.lists.list(former.index) : null
    if (!(await contentSink.keepBlocks(fd, sizeBytes, list, known))) this.#refuse(place, file)
  }

  get #stopped(): boolean {
    return this.#options.signal.aborted || this.#failure !== undefined
  }

  #open(place: WalkPosition, file: UnreadFile): number | undefined {
    try {
      return openFile(place.held.fd, file.name)
    } catch (error) {
      if (!movedAway(error)) throw error
      this.#lost(place, file)
      return undefined
    }
  }

  /** Reads a file's state again after its content was read. */
  #settle(place: WalkPosition, file: UnreadFile, hash: Buffer): void {
    const clean = this.#statAgain(place, file)
    if (clean !== null) this.#out.setRead(file.index, hash, clean)
  }

  /** Whether a file is the same as before, and final; null: it is not there any more. */
  #statAgain(place: WalkPosition, file: UnreadFile): boolean | null {
    if (!statAgain(place.held.fd, file.name, this.#stat) || this.#stat.kind !== 'file') {
      this.#lost(place, file)
      return null
    }
    const same = sameState(file.state, this.#stat)
    if (!same) this.#refuse(place, file)
    return same && this.#options.isFinal(file.state)
  }

  #lost(place: WalkPosition, file: UnreadFile, errno?: string): void {
    // The pool reports EINVAL for what is no regular file any more.
    if (errno !== undefined && errno !== 'EINVAL' && !isMovedAway(errno))
      throw new SystemCallError('read', printable(joinPath(place.path, file.name)), errno)
    this.#refuse(place, file)
    this.missing.add(file.index)
  }

  #refuse(place: WalkPosition, file: UnreadFile): void {
    if (this.#options.changed !== null) throw this.#options.changed(place.path, file.name)
  }
}
