import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readSync,
  writeSync,
} from 'node:fs'
import { openUnnamed } from '../../sys/clone.ts'
import { DIRECT_BYTES, directBuffer } from '../../sys/direct.ts'
import { errnoOf } from '../../sys/failure.ts'
import { allocateZeros, punchHole } from '../../sys/files.ts'
import { FLAG_NODUMP, getFlags, setFlags } from '../../sys/flags.ts'
import { StatBuffer, statAt } from '../../sys/stat.ts'
import { TRACKED_BLOCK_BYTES, WHOLE_FILE } from './change-log.ts'
import { BY, type KernelPart } from './kernel-part.ts'
import { TouchedSince } from './touched-since.ts'

const SMALL_BYTES = 16

/**
 * Changes an unnamed file in this very file system, and checks that the program sees it.
 * Returns what was not seen; null: all was seen. Throws what its calls throw.
 * It guards against a kernel or a file system that works differently from the source that was read. Examples:
 * constants that are not in BTF, small files in the inode (ext4's inline_data), missing events.
 */
export function selfTest(kernel: KernelPart, directory: string): string | null {
  let fd = openUnnamed(directory)
  const { ino } = fstatSync(fd, { bigint: true })
  kernel.add([ino])
  // Which probes noted the last step for this block.
  const marksOf = (block: number) => {
    let marks = 0
    kernel.drain((inode, at, by) => {
      if (inode === ino && at === block) marks |= by
    })
    return marks
  }
  const seen = (block: number, by: number) => (marksOf(block) & by) === by
  try {
    const small = Buffer.alloc(SMALL_BYTES, 'w')
    writeSync(fd, small, 0, SMALL_BYTES, 0)
    if (!seen(0, BY.dirty)) return 'a write to a small file'
    fsyncSync(fd)
    writeSync(fd, small, 0, SMALL_BYTES, 0)
    if (!seen(0, BY.dirty)) return 'a write to a page that was clean again'
    writeSync(fd, Buffer.alloc(2 * TRACKED_BLOCK_BYTES, 'w'), 0, 2 * TRACKED_BLOCK_BYTES, 0)
    fsyncSync(fd)
    const direct = seeDirect(fd, marksOf)
    if (direct !== null) return direct
    punchHole(fd, 0, TRACKED_BLOCK_BYTES)
    if (!seen(WHOLE_FILE, BY.truncate)) return 'a hole'
    if (allocateZeros(fd, TRACKED_BLOCK_BYTES, TRACKED_BLOCK_BYTES) && !seen(WHOLE_FILE, BY.zero)) return 'zeros'
    ftruncateSync(fd, DIRECT_BYTES)
    if (!seen(WHOLE_FILE, BY.truncate)) return 'a truncate'
    closeSync(fd)
    fd = -1
    return seen(WHOLE_FILE, BY.truncate) ? null : 'the end of an unlinked file'
  } finally {
    if (fd >= 0) closeSync(fd)
    kernel.remove([ino])
    kernel.drain(() => {})
  }
}

function seeDirect(fd: number, marksOf: (block: number) => number): string | null {
  let direct: number
  try {
    direct = openSync(`/proc/self/fd/${fd}`, constants.O_RDWR | constants.O_DIRECT)
  } catch (error) {
    // This file system has no direct I/O for any program.
    if (errnoOf(error) === 'EINVAL') return null
    throw error
  }
  try {
    marksOf(1)
    const page = directBuffer(DIRECT_BYTES).fill('d')
    readSync(direct, page, 0, DIRECT_BYTES, TRACKED_BLOCK_BYTES)
    if (marksOf(1) !== 0) return 'the difference between a direct read and a write'
    writeSync(direct, page, 0, DIRECT_BYTES, TRACKED_BLOCK_BYTES)
    return marksOf(1) === (BY.directBegin | BY.directEnd) ? null : 'a direct write'
  } finally {
    closeSync(direct)
  }
}

/** Files that are tried, one after the other: seeing the changes of one by luck does not mean seeing those of all. */
const TRIED_FILES = 3
/** Something else may touch an inode at that moment, for example a sync of everything. */
const CLEAR_TRIES = 10

/** The changes tried on a file. ext4 reports the second attribute only at the end of its transaction. */
const ATTRIBUTE_CHANGES: readonly ((fd: number, nth: number) => unknown)[] = [
  (fd, nth) => fchmodSync(fd, 0o640 + (nth % 8)),
  (fd) => setFlags(fd, (getFlags(fd) ?? 0) ^ FLAG_NODUMP),
]

/**
 * Whether changes of attributes are seen, and not mistaken for changes of another inode.
 * Tried in the same way several times, always with the same result. Throws what its calls throw.
 * The caller has to know that the file system has a journal.
 */
export function seesAttributes(kernel: KernelPart, directory: string): boolean {
  let cut = 0
  const fds: number[] = []
  try {
    for (let nth = 0; nth < TRIED_FILES; nth++) fds.push(openUnnamed(directory))
    const files = fds.map((fd) => {
      // Dirty data of their creation must not be mistaken for a change.
      fsyncSync(fd)
      const stat = new StatBuffer()
      statAt(fd, '', stat)
      return { fd, inoLow: stat.inoLow, inoHigh: stat.inoHigh }
    })
    return files.every((file) =>
      ATTRIBUTE_CHANGES.every((change) => {
        for (let tries = 0; tries < CLEAR_TRIES; tries++) {
          kernel.begin(++cut)
          const touched = () => {
            const since = new TouchedSince(kernel.places(), cut)
            return files.filter(({ inoLow, inoHigh }) => since.has(inoLow, inoHigh))
          }
          const before = touched().length
          change(file.fd, cut)
          const after = touched()
          if (!after.includes(file)) return false
          // The neighbours were left alone: so it was this change that was seen.
          if (before === 0 && after.length === 1) return true
        }
        return false
      }),
    )
  } finally {
    kernel.begin(0)
    for (const fd of fds) closeSync(fd)
  }
}
