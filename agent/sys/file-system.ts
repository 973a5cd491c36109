import { callNow } from './libc.ts'

/** struct statfs is 120 bytes on x86-64 and arm64; its first field is the magic number, a long. */
const STATFS_BYTES = 120

/** Magic numbers of statfs(2), linux/magic.h. ext2, ext3 and ext4 share theirs. */
const NAMES: ReadonlyMap<number, string> = new Map([
  [0xef53, 'ext4'],
  [0x58465342, 'xfs'],
  [0x9123683e, 'btrfs'],
  [0x01021994, 'tmpfs'],
])

/** Name of the file system that an open file (O_PATH too) lies on; one that is not in the list by its number, such as '0x794c7630'. */
export function fileSystemOf(fd: number): string {
  const into = new Uint32Array(STATFS_BYTES / 4)
  callNow('fstatfs', `fd ${fd}`, fd, into)
  const magic = into[0] ?? 0
  return NAMES.get(magic) ?? `0x${magic.toString(16)}`
}
