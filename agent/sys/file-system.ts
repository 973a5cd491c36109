import { closeSync, constants, openSync } from 'node:fs'
import { callNow } from './libc.ts'

/** struct statfs has 120 bytes on x86-64 and arm64; its first field is the magic number, a long. */
const STATFS_BYTES = 120
/** Its flags field, and the flag for read-only. */
const FLAGS_OFFSET = 80
const ST_RDONLY = 1
/** Of open(2): opens only the place, not the file. */
const O_PATH = 0o10000000

/** Magic numbers of statfs(2), linux/magic.h. ext2, ext3 and ext4 share theirs. */
const NAMES: ReadonlyMap<number, string> = new Map([
  [0xef53, 'ext4'],
  [0x58465342, 'xfs'],
  [0x9123683e, 'btrfs'],
  [0x01021994, 'tmpfs'],
])

/** Returns the name of the file system of an open file (O_PATH too), or its number, such as '0x794c7630'. */
export function fileSystemOf(fd: number): string {
  const into = new Uint32Array(STATFS_BYTES / 4)
  callNow('fstatfs', `fd ${fd}`, fd, into)
  const magic = into[0] ?? 0
  return NAMES.get(magic) ?? `0x${magic.toString(16)}`
}

/**
 * Tells whether a directory cannot be written through the mount on its path, or its file system not at all.
 * Asks the file system.
 */
export function isReadOnlyAt(path: string): boolean {
  const fd = openSync(path, O_PATH | constants.O_DIRECTORY)
  try {
    const into = Buffer.alloc(STATFS_BYTES)
    callNow('fstatfs', path, fd, into)
    return (into.readUInt32LE(FLAGS_OFFSET) & ST_RDONLY) !== 0
  } finally {
    closeSync(fd)
  }
}
