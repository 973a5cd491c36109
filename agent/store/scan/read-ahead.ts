import { willRead } from '../../sys/files.ts'
import type { ByteRange } from '../tracker/contract.ts'
import { DataRuns } from '../workers/data-runs.ts'

/** Holes up to this size are read with the data around them: a call for each piece would cost more. */
const JOINED_BYTES = 16 * 1024

/**
 * Starts reading ascending ranges of a file of `sizeBytes` into the page cache.
 * Does not wait for the data.
 * Holes are left out: for them the kernel would fill its memory with pages of zeros.
 */
export async function readAhead(fd: number, sizeBytes: number, ranges: readonly ByteRange[]): Promise<void> {
  const runs = DataRuns.of(fd, sizeBytes)
  let from = 0
  let to = 0
  // One after the other: each only begins, and at most 256 calls that may wait can be under way (koffi).
  for (const piece of dataIn(runs, ranges, sizeBytes)) {
    if (to === 0 || piece.from > to + JOINED_BYTES) {
      if (to > 0) await willRead(fd, from, to - from)
      from = piece.from
    }
    to = piece.to
  }
  if (to > 0) await willRead(fd, from, to - from)
}

function* dataIn(
  runs: DataRuns,
  ranges: readonly ByteRange[],
  sizeBytes: number,
): Generator<Pick<DataRuns, 'from' | 'to'>> {
  for (const { offset, length } of ranges) {
    const end = Math.min(offset + length, sizeBytes)
    for (let at = offset; at < end; ) {
      runs.seek(at)
      const from = Math.max(runs.from, at)
      if (from >= end) break
      at = Math.min(runs.to, end)
      yield { from, to: at }
    }
  }
}
