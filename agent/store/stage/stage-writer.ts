import { WherryError } from '../../model/errors.ts'
import { type FaultPoint, noFault } from '../../runtime/fault-point.ts'
import { errnoOf } from '../../sys/failure.ts'
import { orDiskFull } from '../disk/free-space.ts'
import type { Layout } from '../disk/layout.ts'
import { printable } from '../manifest/byte-path.ts'
import { ContentIndex } from '../manifest/content-index.ts'
import type { Manifest } from '../manifest/manifest.ts'
import { decodeManifest } from '../manifest/parser.ts'
import { planChanges } from '../manifest/plan.ts'
import type { Snapshot } from '../snapshot/snapshot.ts'
import type { BlockRun, Piece, StageProgress, TreeWriter, Want } from '../tree-contract.ts'
import { Attempt } from './receive-session.ts'
import type { Stage } from './stage.ts'
import { LIST_MAX_BYTES } from './staged-lists.ts'

export interface WriterParts {
  readonly layout: Layout
  /** The volume's name, for messages. */
  readonly volume: string
  /** The volume's one stage. */
  readonly stage: Stage
  /** Looks at the tree as it is now, keeping what was seen. */
  readonly scan: (signal: AbortSignal) => Promise<Snapshot>
  /** Called once, when the writer is closed. */
  readonly closed: () => void
  readonly faultPoint?: FaultPoint
}

const NOTHING_YET: StageProgress = { bytesDone: 0, bytesTotal: 0, filesDone: 0, filesTotal: 0 }

/**
 * Receives a tree into the stage. `next` may wait in one place while answers are taken in another. Answers to different wants may come
 * side by side, but for lists, which come one after the other.
 */
export class StageWriter implements TreeWriter {
  readonly #parts: WriterParts
  readonly #abort = new AbortController()
  readonly #calls = new Set<Promise<unknown>>()
  #attempt: Attempt | null = null

  constructor(parts: WriterParts) {
    this.#parts = parts
  }

  begin(manifest: AsyncIterable<Buffer>): Promise<void> {
    return this.#call(async () => {
      await this.#attempt?.close()
      this.#attempt = null
      this.#attempt = await this.#begin(manifest)
    })
  }

  next(): Promise<Want | null> {
    return this.#call(() => this.#begun().next())
  }

  takeFiles(indexes: readonly number[], data: Buffer, changed: readonly number[]): Promise<void> {
    return this.#call(() => this.#begun().takeFiles(indexes, data, changed))
  }

  takeHashes(index: number, chunk: Buffer, end: boolean): Promise<void> {
    return this.#call(() => this.#begun().takeHashes(index, chunk, end))
  }

  takePiece(run: BlockRun, piece: Piece): Promise<void> {
    return this.#call(() => this.#begun().takePiece(run, piece))
  }

  /** `changed` needs no heed: blocks that are wrong or did not come leave the file incomplete. */
  endBlocks(run: BlockRun, _changed: boolean): Promise<void> {
    return this.#call(() => this.#begun().endBlocks(run))
  }

  finish(): Promise<boolean> {
    return this.#call(() => this.#begun().finish())
  }

  progress(): StageProgress {
    return this.#attempt?.progress() ?? NOTHING_YET
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#abort.signal.aborted) return
    this.#abort.abort(closedError(this.#parts.volume))
    await this.#attempt?.close()
    await Promise.allSettled(this.#calls)
    await this.#attempt?.close()
    this.#parts.stage.parts.lists.close()
    this.#parts.closed()
  }

  async #begin(chunks: AsyncIterable<Buffer>): Promise<Attempt> {
    const { stage, layout, volume, faultPoint = noFault } = this.#parts
    const { signal } = this.#abort
    const target = await this.#unlessClosed(decodeManifest(chunks))
    requireListable(target)
    faultPoint('manifest-received')
    await stage.retarget(target)
    faultPoint('manifest-staged')
    const mine = await this.#parts.scan(signal)
    faultPoint('tree-seen')
    const plan = planChanges(target, mine.manifest)
    const state = await stage.look(plan, mine, signal)
    const sources = new ContentIndex(mine.manifest, state.needed > state.complete.count)
    const { directory } = layout
    const attempt = new Attempt({ stage, directory, volume, state, mine, sources, signal, faultPoint })
    await attempt.begin()
    faultPoint('begun')
    return attempt
  }

  /** Waits for something that comes over the network, but not beyond the closing. */
  async #unlessClosed<T>(coming: Promise<T>): Promise<T> {
    const { signal } = this.#abort
    const closed = Promise.withResolvers<never>()
    const onAbort = () => closed.reject(signal.reason)
    signal.addEventListener('abort', onAbort)
    try {
      return await Promise.race([coming, closed.promise])
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  #begun(): Attempt {
    if (this.#attempt === null) throw new WherryError('REQUEST_INVALID', 'Nothing was begun.')
    return this.#attempt
  }

  /** Makes a full disk DISK_FULL; after closing every call is REQUEST_INVALID. */
  #call<T>(work: () => Promise<T>): Promise<T> {
    const { signal } = this.#abort
    const result = orDiskFull(this.#parts.layout.directory, this.#parts.volume, async () => {
      signal.throwIfAborted()
      return await work()
    })
    result.catch((error: unknown) => {
      // The stage is not what it is thought to be: the next look finds out anew, and clears away what does not belong there.
      if (errnoOf(error) !== undefined) this.#parts.stage.forget()
    })
    const settled = result.then(
      () => {},
      () => {},
    )
    this.#calls.add(settled)
    settled.then(() => this.#calls.delete(settled))
    return result
  }
}

/** The list of a file is held in memory whole while it is used: a file beyond all sense must not fill it. */
function requireListable(target: Manifest): void {
  for (let index = 0; index < target.count; index++) {
    if (target.listBytes(index) <= LIST_MAX_BYTES) continue
    const what = `${printable(target.path(index))} is larger than 16 TiB, which no copy can be made of.`
    throw new WherryError('TREE_UNSUPPORTED', what, { hint: 'Make the file smaller or keep it outside of the volume.' })
  }
}

function closedError(volume: string): WherryError {
  return new WherryError('REQUEST_INVALID', `The writer of volume ${volume} is closed.`)
}
