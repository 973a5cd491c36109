import { DIRECT_BYTES, writeDirect } from '../../sys/direct.ts'
import { SystemCallError } from '../../sys/failure.ts'
import { startWriteback } from '../../sys/files.ts'
import { blockBytesOf, blockCountOf, HASH_BYTES } from '../blocks/block-size.ts'
import { writeFully } from '../blocks/full-io.ts'
import { makeHole } from './hole.ts'
import { type Memory, sha256 } from './memory.ts'

export interface ExtentView {
  readonly offset: number
  readonly data: Uint8Array
}

export interface WriteBlocksTask {
  readonly fd: number
  readonly sizeBytes: number
  readonly blocks: Float64Array
  readonly expected: Uint8Array
  readonly extents: readonly ExtentView[]
  readonly punch: boolean
  readonly direct: number | null
}

/** A range of bytes; the end is not in it. */
interface Range {
  readonly start: number
  readonly end: number
}

/** `BlockPool.writeBlocks`. */
export function writeBlocks(memory: Memory, task: WriteBlocksTask) {
  const { fd, sizeBytes, blocks, expected, extents } = task
  const blockBytes = blockBytesOf(sizeBytes)
  requireOrder(fd, task)
  const right = new Uint8Array(blocks.length)
  const cursor = new Cursor(extents)
  const good: Range[] = []
  for (const [nth, block] of blocks.entries()) {
    const range = { start: block * blockBytes, end: Math.min((block + 1) * blockBytes, sizeBytes) }
    const hash = hashOf(memory, range, cursor.within(range))
    if (!hash.equals(expected.subarray(nth * HASH_BYTES, (nth + 1) * HASH_BYTES))) continue
    right[nth] = 1
    append(good, range)
  }
  write(memory, task, good, new Cursor(extents))
  // The memory goes back to where it came from.
  return { right, returned: extents.map(({ data }) => data) }
}

/** Throws for extents that are out of order or outside of the blocks: a mistake of the caller. */
function requireOrder(fd: number, { sizeBytes, blocks, expected, extents }: WriteBlocksTask): void {
  const blockBytes = blockBytesOf(sizeBytes)
  const [first = 0, last = -1] = [blocks[0], blocks.at(-1)]
  let isRight = expected.length === blocks.length * HASH_BYTES && last < blockCountOf(sizeBytes)
  for (const [nth, block] of blocks.entries()) isRight &&= nth === 0 || block > (blocks[nth - 1] ?? block)
  let end = first * blockBytes
  for (const { offset, data } of extents) {
    isRight &&= offset >= end
    end = offset + data.length
  }
  if (!isRight || end > Math.min((last + 1) * blockBytes, sizeBytes))
    throw new SystemCallError('writeBlocks', `fd ${fd}`, 'EINVAL')
}

/** Adds a range, joined with its neighbour. */
function append(ranges: Range[], { start, end }: Range): void {
  const last = ranges.at(-1)
  if (last?.end === start) ranges[ranges.length - 1] = { start: last.start, end }
  else ranges.push({ start, end })
}

/** Returns the data of ascending ranges, one after the other. */
class Cursor {
  readonly #extents: readonly ExtentView[]
  #at = 0

  constructor(extents: readonly ExtentView[]) {
    this.#extents = extents
  }

  within({ start, end }: Range): ExtentView[] {
    const pieces: ExtentView[] = []
    for (; ; this.#at++) {
      const extent = this.#extents[this.#at]
      if (extent === undefined || extent.offset >= end) return pieces
      const from = Math.max(start, extent.offset)
      const to = Math.min(end, extent.offset + extent.data.length)
      if (from < to) {
        pieces.push({ offset: from, data: extent.data.subarray(from - extent.offset, to - extent.offset) })
      }
      // The part beyond the range is used again for the next one.
      if (to === end) return pieces
    }
  }
}

function hashOf(memory: Memory, { start, end }: Range, pieces: readonly ExtentView[]): Buffer {
  const [only] = pieces
  if (only === undefined) return memory.zeroHash(end - start)
  if (only.data.length === end - start) return sha256(only.data)
  const whole = memory
    .buffer(end - start)
    .subarray(0, end - start)
    .fill(0)
  for (const { offset, data } of pieces) whole.set(data, offset - start)
  return sha256(whole)
}

function write(memory: Memory, { fd, punch, direct }: WriteBlocksTask, ranges: readonly Range[], cursor: Cursor): void {
  for (const range of ranges) {
    let at = range.start
    for (const { offset, data } of cursor.within(range)) {
      if (punch) makeHole(memory, fd, at, offset - at)
      const done = direct === null ? 0 : writeAligned(memory, direct, data, offset)
      writeFully(fd, data.subarray(done), offset + done)
      at = offset + data.length
    }
    if (punch) makeHole(memory, fd, at, range.end - at)
  }
  const [first] = ranges
  const last = ranges.at(-1)
  if (first !== undefined && last !== undefined) startWriteback(fd, first.start, last.end - first.start)
}

/** Writes the whole disk blocks of a piece past the page cache; returns how many bytes from its start. */
function writeAligned(memory: Memory, direct: number, data: Uint8Array, position: number): number {
  if (position % DIRECT_BYTES !== 0) return 0
  const wholeBytes = data.length - (data.length % DIRECT_BYTES)
  let done = 0
  while (done < wholeBytes) {
    const part = memory.direct.subarray(0, Math.min(memory.direct.length, wholeBytes - done))
    part.set(data.subarray(done, done + part.length))
    const written = writeDirect(direct, part, position + done)
    done += written
    if (written < part.length) break
  }
  return done
}
