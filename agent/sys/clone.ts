import { constants, openSync } from 'node:fs'
import { callAsync } from './libc.ts'

/** ioctl_ficlone(2). */
const FICLONE = 0x40049409
/**
 * struct fiemap of the kernel's fiemap.h: offsets of its fields, its length, and the length of each extent after it.
 */
const FIEMAP = 0xc020660b
const FIEMAP_BYTES = 32
const FIEMAP_LENGTH_AT = 8
const FIEMAP_MAPPED_AT = 20
const FIEMAP_ROOM_AT = 24
const FIEMAP_EXTENT_BYTES = 56
/** Node does not name it; the same on x86-64 and arm64. */
const TMPFILE = 0x400000

/**
 * Opens a new file without a name on the file system of `directory`, for reading and writing.
 * Nothing is left of it after it is closed (open(2), O_TMPFILE).
 */
export function openUnnamed(directory: string): number {
  return openSync(directory, constants.O_RDWR | constants.O_DIRECTORY | TMPFILE, 0o600)
}

/**
 * Counts the extents of an open file, without holes; `max` when there are more.
 * Takes time in proportion to the extents, up to `max`.
 */
export async function countExtents(fd: number, max: number): Promise<number> {
  const map = Buffer.alloc(FIEMAP_BYTES + max * FIEMAP_EXTENT_BYTES)
  map.writeBigUInt64LE(2n ** 64n - 1n, FIEMAP_LENGTH_AT)
  map.writeUInt32LE(max, FIEMAP_ROOM_AT)
  await callAsync('ioctl', `fd ${fd}`, fd, FIEMAP, map)
  return map.readUInt32LE(FIEMAP_MAPPED_AT)
}

/**
 * Gives the open file `to` the present content of the open file `from` by sharing its blocks.
 * A later write to either is not seen in the other. Dirty pages of `from` are written out first, and waited for
 * (generic_remap_file_range_prep in the kernel's fs/remap_range.c). Each extent costs a transaction, and writers of
 * `from` wait meanwhile.
 * Rejects SystemCallError where the file system or these two files cannot: ENOTSUP, EINVAL, EXDEV, ENOTTY.
 */
export async function cloneFile(from: number, to: number): Promise<void> {
  await callAsync('ioctl', `fd ${from}`, to, FICLONE, BigInt(from))
}
