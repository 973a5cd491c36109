import { copyRange, startWriteback } from '../../sys/files.ts'
import { readFully, writeFully } from '../blocks/full-io.ts'
import { DataRuns } from './data-runs.ts'
import { makeHole } from './hole.ts'
import type { Memory } from './memory.ts'

/** Size of the buffer for copies by reading and writing. */
const COPY_BYTES = 1024 * 1024

export interface CopyRangesTask {
  readonly from: number
  readonly to: number
  readonly ranges: readonly { readonly offset: number; readonly length: number }[]
}

/** `BlockPool.copyRanges`. */
export function copyRanges(memory: Memory, { from, to, ranges }: CopyRangesTask): void {
  const runs = new DataRuns(from)
  for (const { offset, length } of ranges) {
    const end = offset + length
    for (let at = offset; at < end; ) {
      runs.seek(at)
      const data = Math.min(Math.max(runs.from, at), end)
      makeHole(memory, to, at, data - at)
      at = data
      if (at < end) at = copyData(memory, from, to, at, Math.min(runs.to, end))
    }
    startWriteback(to, offset, length)
  }
}

/**
 * Copies a range of data; returns `end`.
 * What the source does not have (it became shorter) becomes a hole.
 */
function copyData(memory: Memory, from: number, to: number, start: number, end: number): number {
  let at = start
  while (at < end) {
    const copied = copyRange(from, to, at, end - at) ?? copyThrough(memory, from, to, at, end - at)
    if (copied === 0) makeHole(memory, to, at, end - at)
    at = copied === 0 ? end : at + copied
  }
  return end
}

function copyThrough(memory: Memory, from: number, to: number, offset: number, length: number): number {
  const buffer = memory.buffer(COPY_BYTES)
  const got = readFully(from, buffer, 0, Math.min(length, COPY_BYTES), offset)
  writeFully(to, buffer.subarray(0, got), offset)
  return got
}
