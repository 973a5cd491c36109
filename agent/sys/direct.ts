import { constants, openSync, writeSync } from 'node:fs'
import { errnoOf } from './failure.ts'
import { addressOf } from './libc.ts'

/**
 * No disk has larger logical blocks. Memory, offset and length of a direct write must be multiples (open(2),
 * O_DIRECT).
 */
export const DIRECT_BYTES = 4096

/**
 * Opens the file behind `fd` again for writing past the page cache; null where its file system cannot.
 * The caller closes it.
 */
export function openDirect(fd: number): number | null {
  try {
    return openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_DIRECT)
  } catch (error) {
    if (errnoOf(error) === 'EINVAL' || errnoOf(error) === 'EOPNOTSUPP') return null
    throw error
  }
}

/** Allocates memory for direct writes. */
export function directBuffer(sizeBytes: number): Buffer {
  const buffer = Buffer.allocUnsafeSlow(sizeBytes + DIRECT_BYTES)
  const start = Number(-addressOf(buffer) & BigInt(DIRECT_BYTES - 1))
  return buffer.subarray(start, start + sizeBytes)
}

/**
 * Writes whole multiples of DIRECT_BYTES from a directBuffer.
 * Returns the bytes written: fewer than asked when the kernel refuses a direct write; the rest needs an ordinary one.
 */
export function writeDirect(fd: number, data: Buffer, position: number): number {
  let done = 0
  try {
    while (done < data.length) {
      const more = writeSync(fd, data, done, data.length - done, position + done)
      done += more
      if (more % DIRECT_BYTES !== 0) break
    }
  } catch (error) {
    if (errnoOf(error) !== 'EINVAL') throw error
  }
  return done
}
