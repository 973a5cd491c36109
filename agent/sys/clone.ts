import { constants, openSync } from 'node:fs'
import { callAsync } from './libc.ts'

/** ioctl_ficlone(2). */
const FICLONE = 0x40049409
/** Node has no name for it; the same on x86-64 and arm64. */
const TMPFILE = 0x400000

/** Opens a new file without a name on the file system of `directory`, for reading and writing; nothing is left of it when it is closed (open(2), O_TMPFILE). */
export function openUnnamed(directory: string): number {
  return openSync(directory, constants.O_RDWR | constants.O_DIRECTORY | TMPFILE, 0o600)
}

/**
 * Gives the open file `to` the content of the open file `from` as it is now, by sharing its blocks: a later write to either is not seen in the other. What is not
 * written out of `from` yet is first, and waited for (generic_remap_file_range_prep in the kernel's fs/remap_range.c). Rejects SystemCallError where the file
 * system or these two files cannot: errno ENOTSUP, EINVAL, EXDEV, ENOTTY.
 */
export async function cloneFile(from: number, to: number): Promise<void> {
  await callAsync('ioctl', `fd ${from}`, to, FICLONE, BigInt(from))
}
