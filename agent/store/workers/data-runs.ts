import { errnoOf } from '../../sys/failure.ts'
import { nextData, nextHole } from '../../sys/files.ts'
import { StatBuffer, statAt } from '../../sys/stat.ts'
import { blockBytesOf } from '../blocks/block-size.ts'
import { readFully } from '../blocks/full-io.ts'

const SECTOR_BYTES = 512
/**
 * How far data is assumed to extend in a file with all its space allocated, a block at least.
 * Behind that there may be space that was never written to.
 */
const PIECE_BYTES = 256 * 1024

/** Finds where a file has data, piece by piece. Asks the kernel only at the borders. */
export class DataRuns {
  readonly fd: number
  /** The run found last: the first that ends after `#since`, or the first part of it. */
  from = 0
  to = 0
  #since = 0
  /** Data is searched in pieces of this size; 0: to its end. */
  #pieceBytes = 0

  constructor(fd: number) {
    this.fd = fd
  }

  /**
   * Returns the runs of a file of that size.
   * If all its space is allocated, only the beginning of data is searched, piece by piece: to find the end of data
   * the kernel reads every fragment.
   */
  static of(fd: number, sizeBytes: number): DataRuns {
    const runs = new DataRuns(fd)
    const stat = new StatBuffer()
    statAt(fd, '', stat)
    if (stat.blocks * SECTOR_BYTES >= sizeBytes) runs.#pieceBytes = Math.max(PIECE_BYTES, blockBytesOf(sizeBytes))
    return runs
  }

  /**
   * Finds the run that has `offset`, or the first after it.
   * `from` and `to` are infinite when there is none.
   */
  seek(offset: number): void {
    if (offset >= this.#since && offset < this.to) return
    this.#since = offset
    this.from = Number.POSITIVE_INFINITY
    this.to = Number.POSITIVE_INFINITY
    const data = nextData(this.fd, offset)
    if (data === null) return
    const hole = this.#pieceBytes > 0 ? endOfPiece(data, this.#pieceBytes) : endOf(this.fd, data)
    if (hole === null) return
    this.from = data
    // Punching holes meanwhile must not make this loop for ever.
    this.to = Math.max(hole, data + 1)
  }

  /** Reads bytes `start` to `end`; holes and a missing end are zeros. */
  read(into: Buffer, start: number, end: number): void {
    for (let at = start; at < end; ) {
      this.seek(at)
      const data = Math.min(Math.max(this.from, at), end)
      into.fill(0, at - start, data - start)
      at = Math.min(this.to, end)
      const got = data < at ? readFully(this.fd, into, data - start, at - data, data) : 0
      into.fill(0, data + got - start, at - start)
    }
  }
}

function endOfPiece(data: number, pieceBytes: number): number {
  return (Math.floor(data / pieceBytes) + 1) * pieceBytes
}

/** Null: the file has become shorter than `data`. */
function endOf(fd: number, data: number): number | null {
  try {
    return nextHole(fd, data)
  } catch (error) {
    if (errnoOf(error) === 'ENXIO') return null
    throw error
  }
}
