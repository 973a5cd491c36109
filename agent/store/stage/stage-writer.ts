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
import type { BlockRequest, BlockRun, Piece, StageProgress, TreeWriter } from '../tree-contract.ts'
import { ReceiveSession } from './receive-session.ts'
import type { Stage } from './stage.ts'
import { LIST_MAX_BYTES } from './staged-lists.ts'

export interface StageWriterParts {
  readonly layout: Layout
  /** The volume's name, for messages. */
  readonly volume: string
  /** The volume's one stage. */
  readonly stage: Stage
  /** Scans the tree as it is now, and saves the result. */
  readonly scan: (signal: AbortSignal) => Promise<Snapshot>
  /** Called once, when the writer is closed. */
  readonly closed: () => void
  readonly faultPoint?: FaultPoint
}

const NOTHING_YET: StageProgress = { bytesDone: 0, bytesTotal: 0, filesDone: 0, filesTotal: 0 }

/**
 * Receives a tree into the stage. `next` may wait in one place while responses are taken in another.
 * Responses to different requests may come side by side, except for lists, which come one after the other.
 */
export class StageWriter implements TreeWriter {
  readonly #parts: StageWriterParts
  readonly #abort = new AbortController()
  readonly #calls = new Set<Promise<unknown>>()
  #session: ReceiveSession | null = null

  constructor(parts: StageWriterParts) {
    this.#parts = parts
  }

  begin(manifest: AsyncIterable<Buffer>): Promise<void> {
    return this.#call(async () => {
      await this.#session?.close()
      this.#session = null
      this.#session = await this.#begin(manifest)
    })
  }

  next(): Promise<BlockRequest | null> {
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

  /** Ignores `changed`: blocks that are wrong or missing leave the file incomplete. */
  endBlocks(run: BlockRun, _changed: boolean): Promise<void> {
    return this.#call(() => this.#begun().endBlocks(run))
  }

  finish(): Promise<boolean> {
    return this.#call(() => this.#begun().finish())
  }

  progress(): StageProgress {
    return this.#session?.progress() ?? NOTHING_YET
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#abort.signal.aborted) return
    this.#abort.abort(closedError(this.#parts.volume))
    await this.#session?.close()
    await Promise.allSettled(this.#calls)
    await this.#session?.close()
    this.#parts.stage.parts.lists.close()
    this.#parts.closed()
  }

  async #begin(chunks: AsyncIterable<Buffer>): Promise<ReceiveSession> {
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
    const state = await stage.inspect(plan, mine, signal)
    const sources = new ContentIndex(mine.manifest, state.needed > state.complete.count)
    const { directory } = layout
    const session = new ReceiveSession({ stage, directory, volume, state, mine, sources, signal, faultPoint })
    await session.begin()
    faultPoint('begun')
    return session
  }

  /** Waits for something from the network, but not beyond the closing. */
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

  #begun(): ReceiveSession {
    if (this.#session === null) throw new WherryError('REQUEST_INVALID', 'The writer has received no manifest yet.')
    return this.#session
  }

  /** Turns a full disk into DISK_FULL. After closing every call rejects REQUEST_INVALID. */
  #call<T>(work: () => Promise<T>): Promise<T> {
    const { signal } = this.#abort
    const result = orDiskFull(this.#parts.layout.directory, this.#parts.volume, async () => {
      signal.throwIfAborted()
      return await work()
    })
    result.catch((error: unknown) => {
      // The stage may differ from what is known of it: the next inspection reads it again, and removes what does
      // not belong.
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

/** Refuses files whose list would be too long: a list in use is in memory as a whole. */
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
