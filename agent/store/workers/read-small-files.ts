import { closeSync, constants } from 'node:fs'
import { errnoOf, SystemCallError } from '../../sys/failure.ts'
import { openAt } from '../../sys/open.ts'
import { StatBuffer, statAt } from '../../sys/stat.ts'
import { HASH_BYTES } from '../blocks/block-size.ts'
import { readFully } from '../blocks/full-io.ts'

import { type Memory, sha256 } from './memory.ts'
import { GOOD, OTHER_CONTENT, outcomeOf } from './outcome.ts'

// Without O_NONBLOCK a fifo in a file's place would block the thread for good.
const READ_FLAGS = constants.O_RDONLY | constants.O_NONBLOCK

export interface SmallFilesTask {
  readonly directoryFd: number
  readonly names: readonly string[]
  readonly sizes: readonly number[]
}

export interface ReadFilesTask extends SmallFilesTask {
  /** As long as all sizes together. */
  readonly into: Uint8Array
}

/** `BlockPool.hashFiles`. */
export function hashFiles(memory: Memory, { directoryFd, names, sizes }: SmallFilesTask) {
  const hashes = Buffer.alloc(names.length * HASH_BYTES)
  const outcomes = new Uint16Array(names.length)
  const stat = new StatBuffer()
  for (const [i, name] of names.entries()) {
    const sizeBytes = sizes[i] ?? 0
    const content = memory.buffer(sizeBytes)
    const outcome = readWhole(directoryFd, name, sizeBytes, stat, content, 0)
    if (outcome === GOOD) sha256(content.subarray(0, sizeBytes)).copy(hashes, i * HASH_BYTES)
    outcomes[i] = outcome
  }
  return { hashes, outcomes }
}

/** `BlockPool.readFiles`. */
export function readFiles(_memory: Memory, { directoryFd, names, sizes, into }: ReadFilesTask) {
  const data = Buffer.from(into.buffer as ArrayBuffer, into.byteOffset, into.length)
  const outcomes = new Uint16Array(names.length)
  const stat = new StatBuffer()
  let at = 0
  for (const [i, name] of names.entries()) {
    const sizeBytes = sizes[i] ?? 0
    const outcome = readWhole(directoryFd, name, sizeBytes, stat, data, at)
    if (outcome !== GOOD) data.fill(0, at, at + sizeBytes)
    outcomes[i] = outcome
    at += sizeBytes
  }
  return { data, outcomes }
}

function readWhole(
  directoryFd: number,
  name: string,
  sizeBytes: number,
  stat: StatBuffer,
  into: Buffer,
  at: number,
): number {
  let fd: number | undefined
  try {
    fd = openQuietly(directoryFd, name)
    statAt(fd, '', stat)
    if (stat.kind !== 'file') throw new SystemCallError('read', name, stat.kind === 'dir' ? 'EISDIR' : 'EINVAL')
    if (stat.sizeBytes !== sizeBytes) return OTHER_CONTENT
    return readFully(fd, into, at, sizeBytes, 0) === sizeBytes ? GOOD : OTHER_CONTENT
  } catch (error) {
    return outcomeOf(error)
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

/**
 * Opens for reading without changing the atime, where allowed: O_NOATIME is for the owner and CAP_FOWNER (open(2)).
 */
export function openQuietly(directoryFd: number, name: string): number {
  try {
    return openAt(directoryFd, name, READ_FLAGS | constants.O_NOATIME)
  } catch (error) {
    if (errnoOf(error) !== 'EPERM') throw error
    return openAt(directoryFd, name, READ_FLAGS)
  }
}
