import { closeSync } from 'node:fs'
import { SystemCallError } from '../../sys/failure.ts'
import { StatBuffer, statAt } from '../../sys/stat.ts'
import { blockBytesOf, HASH_BYTES } from '../blocks/block-size.ts'
import { readFully, writeFully } from '../blocks/full-io.ts'
import { BlockSums, type Tagging } from './block-sums.ts'
import { DataRuns } from './data-runs.ts'
import { makeHole } from './hole.ts'
import { type Memory, sha256 } from './memory.ts'
import { GOOD, OTHER_CONTENT, outcomeOf } from './outcome.ts'
import { openQuietly, type SmallFilesTask } from './read-small-files.ts'

export interface SpoolBlocksTask {
  readonly fd: number
  readonly to: number
  readonly sizeBytes: number
  readonly blocks: Float64Array
  /** Byte of `to` at which each block begins. */
  readonly places: Float64Array
  /** 1 where a place may have data. */
  readonly used: Uint8Array
  /** Null: all are hashed. */
  readonly tagging: Tagging | null
}

export interface SpoolFilesTask extends SmallFilesTask {
  readonly to: number
  readonly place: number
}

/** `BlockPool.spoolBlocks`. Hashes what was written, even if the file changes meanwhile. */
export function spoolBlocks(memory: Memory, { fd, to, sizeBytes, blocks, places, used, tagging }: SpoolBlocksTask) {
  const blockBytes = blockBytesOf(sizeBytes)
  const runs = DataRuns.of(fd, sizeBytes)
  const sums = new BlockSums(memory, blocks.length, tagging)
  for (const [nth, block] of blocks.entries()) {
    const start = block * blockBytes
    const length = Math.min(blockBytes, sizeBytes - start)
    const place = places[nth] ?? 0
    runs.seek(start)
    // A block that is all data is overwritten: punching a hole first would cost many times as much.
    const isWhole = runs.from <= start && runs.to >= start + length
    if (used[nth] === 1 && !isWhole) makeHole(memory, to, place, length)
    const content = memory.buffer(blockBytes).subarray(0, length).fill(0)
    for (let at = start; at < start + length; at = Math.min(runs.to, start + length)) {
      runs.seek(at)
      const data = Math.min(Math.max(runs.from, at), start + length)
      const end = Math.min(runs.to, start + length)
      if (data >= end) break
      readFully(fd, content, data - start, end - data, data)
      writeFully(to, content.subarray(data - start, end - start), place + data - start)
    }
    sums.add(content)
  }
  return { hashes: sums.hashes as Uint8Array }
}

/** `BlockPool.spoolFiles`. */
export function spoolFiles(memory: Memory, { directoryFd, names, sizes, to, place }: SpoolFilesTask) {
  const hashes = Buffer.alloc(names.length * HASH_BYTES)
  const outcomes = new Uint16Array(names.length)
  const total = sizes.reduce((sum, sizeBytes) => sum + sizeBytes, 0)
  const contents = memory.buffer(total).subarray(0, total).fill(0)
  const stat = new StatBuffer()
  let at = 0
  for (const [nth, name] of names.entries()) {
    const content = contents.subarray(at, at + (sizes[nth] ?? 0))
    outcomes[nth] = readSome(directoryFd, name, content, stat)
    sha256(content).copy(hashes, nth * HASH_BYTES)
    at += content.length
  }
  writeFully(to, contents, place)
  return { hashes: hashes as Uint8Array, outcomes }
}

/** Reads what is there into `content`, the rest stays zeros. OTHER_CONTENT: the file has another size. */
function readSome(directoryFd: number, name: string, content: Buffer, stat: StatBuffer): number {
  let fd: number | undefined
  try {
    fd = openQuietly(directoryFd, name)
    statAt(fd, '', stat)
    if (stat.kind !== 'file') throw new SystemCallError('read', name, stat.kind === 'dir' ? 'EISDIR' : 'EINVAL')
    const got = readFully(fd, content, 0, content.length, 0)
    return got === content.length && stat.sizeBytes === content.length ? GOOD : OTHER_CONTENT
  } catch (error) {
    return outcomeOf(error)
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}
