import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  lchownSync,
  mkdirSync,
  openSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { removeXattr, setMtime, setXattr } from '../sys/attributes.ts'
import { makeNode } from '../sys/files.ts'
import { O_PATH, self } from './directory.ts'
import { type Attributes, type InodeEntry, sameXattrs, type Xattrs } from './entry.ts'
import { joinDevice, lstat, readXattrs } from './inode.ts'

const { O_NOFOLLOW, S_IFMT, S_IFLNK, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK } = constants
/** Any chown clears it, so it is set after everything else (capabilities(7)). */
const CAPABILITY = 'security.capability'
const PRIVATE_MODE = 0o600

/** Makes the inode of an entry at a free place, with no attributes of its own yet; a file is made empty. */
export function makeInode(place: Buffer, entry: InodeEntry): void {
  if (entry.kind === 'dir') mkdirSync(place, 0o700)
  else if (entry.kind === 'file') writeFileSync(place, '', { flag: 'wx', mode: PRIVATE_MODE })
  else if (entry.kind === 'symlink') symlinkSync(Buffer.from(entry.target, 'latin1'), place)
  else if ('major' in entry) {
    const type = entry.kind === 'char' ? S_IFCHR : S_IFBLK
    makeNode(place, type | PRIVATE_MODE, joinDevice(entry.major, entry.minor))
  } else makeNode(place, (entry.kind === 'fifo' ? S_IFIFO : S_IFSOCK) | PRIVATE_MODE, 0n)
}

/**
 * Gives what is at `place` an entry's attributes, in the only order that works: owner (clears suid and capabilities),
 * mode, xattrs (an ACL agrees with the mode it came with), capability, time. Touches only what differs; answers the
 * inode number. Never follows a symlink at `place`.
 */
export function setAttributes(place: Buffer, wanted: Attributes): bigint {
  const stat = lstat(place)
  const type = Number(stat.mode) & S_IFMT
  const owned = Number(stat.uid) === wanted.uid && Number(stat.gid) === wanted.gid
  if (!owned) lchownSync(place, wanted.uid, wanted.gid)
  if (type !== S_IFLNK && (!owned || (Number(stat.mode) & 0o7777) !== wanted.mode)) setMode(place, wanted.mode)
  setXattrs(place, wanted.xattrs)
  if (stat.mtimeNs !== wanted.mtimeNs) setMtime(place, wanted.mtimeNs)
  return stat.ino
}

export function sameAttributes(a: Attributes, b: Attributes): boolean {
  return (
    a.mode === b.mode &&
    a.uid === b.uid &&
    a.gid === b.gid &&
    a.mtimeNs === b.mtimeNs &&
    a.flags === b.flags &&
    sameXattrs(a.xattrs, b.xattrs)
  )
}

/** There is no chmod that leaves symlinks alone before Linux 6.6 (fchmodat2): a held O_PATH descriptor does it. */
function setMode(place: Buffer, mode: number): void {
  const fd = openSync(place, O_PATH | O_NOFOLLOW)
  try {
    if ((fstatSync(fd).mode & S_IFMT) !== S_IFLNK) chmodSync(self(fd), mode)
  } finally {
    closeSync(fd)
  }
}

function setXattrs(place: Buffer, wanted: Xattrs): void {
  const present = new Map(readXattrs(place))
  const names = new Set(wanted.map(([name]) => name))
  for (const name of present.keys()) if (!names.has(name)) removeXattr(place, name)
  const capabilityLast = [...wanted].sort(([a], [b]) => Number(a === CAPABILITY) - Number(b === CAPABILITY))
  for (const [name, value] of capabilityLast) {
    if (present.get(name)?.equals(value) !== true) setXattr(place, name, value)
  }
}
