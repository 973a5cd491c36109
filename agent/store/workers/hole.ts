import { errnoOf } from '../../sys/failure.ts'
import { punchHole } from '../../sys/files.ts'
import { writeFully } from '../blocks/full-io.ts'
import type { Memory } from './memory.ts'

/** Zeros are written in pieces of this size where the file system has no holes. */
const ZEROS_BYTES = 1024 * 1024

/** Makes a range a hole; writes zeros where the file system has no holes. */
export function makeHole(memory: Memory, fd: number, offset: number, length: number): void {
  if (length === 0) return
  try {
    punchHole(fd, offset, length)
  } catch (error) {
    if (errnoOf(error) !== 'ENOTSUP') throw error
    const zeros = memory.buffer(ZEROS_BYTES).subarray(0, ZEROS_BYTES).fill(0)
    for (let done = 0; done < length; done += ZEROS_BYTES) {
      writeFully(fd, zeros.subarray(0, Math.min(ZEROS_BYTES, length - done)), offset + done)
    }
  }
}
