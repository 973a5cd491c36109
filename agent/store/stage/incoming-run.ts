import { WherryError } from '../../model/errors.ts'
import type { BlockRun, Piece } from '../tree-contract.ts'
import type { Extent } from '../workers/contract.ts'
import type { StagedFile } from './staged-file.ts'

/**
 * Bytes after which whole blocks are passed on: enough to outweigh a message, few enough to spread over the
 * threads.
 */
export const GROUP_BYTES = 1024 * 1024

/** Whole blocks of a file, ascending, with the data received for them. */
export interface BlockGroup {
  readonly blocks: readonly number[]
  readonly extents: readonly Extent[]
  readonly bytes: number
}

/** One response to a `blocks` request: collects pieces until they fill whole blocks. */
export class IncomingRun {
  readonly file: StagedFile
  readonly #end: number
  readonly #endByte: number
  /** First block that was not passed on yet. */
  #first: number
  /** Byte in the file after the last piece. */
  #position: number
  #extents: Extent[] = []
  #bytes = 0

  constructor(file: StagedFile, run: BlockRun) {
    this.file = file
    this.#first = run.first
    this.#end = run.first + run.count
    this.#position = run.first * file.blockBytes
    this.#endByte = Math.min(this.#end * file.blockBytes, file.sizeBytes)
  }

  /**
   * Takes a piece; returns the blocks that are whole now, if enough has come.
   * REQUEST_INVALID: data out of order or outside of the run.
   */
  take({ offset, data }: Piece): BlockGroup | null {
    const end = offset + data.length
    if (!Number.isSafeInteger(offset) || offset < this.#position || end > this.#endByte || data.length === 0) {
      throw new WherryError(
        'REQUEST_INVALID',
        `File data came for bytes ${offset} to ${end}: out of order, or not requested.`,
      )
    }
    this.#position = end
    this.#extents.push({ offset, data })
    this.#bytes += data.length
    const whole = end === this.#endByte ? this.#end : Math.floor(end / this.file.blockBytes)
    return this.#bytes >= GROUP_BYTES && whole > this.#first ? this.#cut(whole) : null
  }

  /** Returns the rest of the run; what did not come is a hole. */
  finish(): BlockGroup | null {
    return this.#first < this.#end ? this.#cut(this.#end) : null
  }

  /**
   * Returns the blocks below `end`.
   * A piece that reaches into the next block is copied in part: its memory is transferred.
   */
  #cut(end: number): BlockGroup {
    const border = end * this.file.blockBytes
    const extents: Extent[] = []
    const rest: Extent[] = []
    for (const extent of this.#extents) {
      const inside = border - extent.offset
      if (inside >= extent.data.length) extents.push(extent)
      else if (inside <= 0) rest.push(extent)
      else {
        const data = Buffer.allocUnsafeSlow(extent.data.length - inside)
        extent.data.copy(data, 0, inside)
        rest.push({ offset: border, data })
        extents.push({ offset: extent.offset, data: extent.data.subarray(0, inside) })
      }
    }
    const bytes = extents.reduce((sum, { data }) => sum + data.length, 0)
    const first = this.#first
    const blocks = Array.from({ length: end - first }, (_, nth) => first + nth)
    const group = { blocks, extents, bytes }
    this.#first = end
    this.#extents = rest
    this.#bytes -= bytes
    return group
  }
}
