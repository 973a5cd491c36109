import {
  type BigIntStats,
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
import { removeXattr, setMtime, setXattr } from '../../sys/attributes.ts'
import { makeNode } from '../../sys/files.ts'
import { O_PATH } from '../../sys/open.ts'
import { type Attributes, sameXattrs, type Xattrs } from '../manifest/entry.ts'
import { self } from './directory.ts'
import { type InodeBody, joinDevice, lstat, readXattrs } from './inode.ts'

const { O_NOFOLLOW, S_IFMT, S_IFLNK, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK } = constants
/** Any chown and any write clears it, so it is set after everything else (capabilities(7)). */
const CAPABILITY = 'security.capability'
const PRIVATE_MODE = 0o600

/** Makes the inode of an entry at a free place, without the entry's attributes; a file is made empty. */
export function makeInode(place: Buffer, entry: InodeBody): void {
  if (entry.kind === 'dir') mkdirSync(place, 0o700)
  else if (entry.kind === 'file') writeFileSync(place, '', { flag: 'wx', mode: PRIVATE_MODE })
  else if (entry.kind === 'symlink') symlinkSync(Buffer.from(entry.target, 'latin1'), place)
  else if ('major' in entry) {
    const type = entry.kind === 'char' ? S_IFCHR : S_IFBLK
    makeNode(place, type | PRIVATE_MODE, joinDevice(entry.major, entry.minor))
  } else makeNode(place, (entry.kind === 'fifo' ? S_IFIFO : S_IFSOCK) | PRIVATE_MODE, 0n)
}

/**
 * Sets an entry's attributes at `place` (all but inode flags, see flags.ts). May be repeated.
 * The only order that works: owner (clears suid and capabilities), mode, xattrs (an ACL agrees with the mode it
 * came with), capability, time. Changes only what differs, and never follows a symlink at `place`.
 * `present`, when the caller knows it for sure, saves asking the kernel.
 */
export function setAttributes(place: Buffer, wanted: Attributes, present?: Attributes): void {
  const stat = present === undefined ? lstat(place) : null
  const is = stat === null ? (present as Attributes) : fromStat(stat)
  const owned = is.uid === wanted.uid && is.gid === wanted.gid
  if (!owned) lchownSync(place, wanted.uid, wanted.gid)
  const modeStays = owned && is.mode === wanted.mode
  if (!modeStays && !isSymlink(stat)) setMode(place, wanted.mode)
  // A chown clears capabilities and a chmod changes the ACL: earlier knowledge is not valid any more.
  setXattrs(place, wanted.xattrs, modeStays && present !== undefined ? present.xattrs : readXattrs(place))
  if (is.mtimeNs !== wanted.mtimeNs) setMtime(place, wanted.mtimeNs)
}

function fromStat(stat: BigIntStats): Omit<Attributes, 'flags' | 'xattrs'> {
  return {
    mode: Number(stat.mode) & 0o7777,
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    mtimeNs: stat.mtimeNs,
  }
}

function isSymlink(stat: BigIntStats | null): boolean {
  return stat !== null && (Number(stat.mode) & S_IFMT) === S_IFLNK
}

/** Before Linux 6.6 no chmod leaves symlinks alone (fchmodat2): a held O_PATH descriptor does. */
function setMode(place: Buffer, mode: number): void {
  const fd = openSync(place, O_PATH | O_NOFOLLOW)
  try {
    if ((fstatSync(fd).mode & S_IFMT) !== S_IFLNK) chmodSync(self(fd), mode)
  } finally {
    closeSync(fd)
  }
}

function setXattrs(place: Buffer, wanted: Xattrs, is: Xattrs): void {
  if (sameXattrs(wanted, is)) return
  const present = new Map(is)
  const names = new Set(wanted.map(([name]) => name))
  for (const name of present.keys()) if (!names.has(name)) removeXattr(place, name)
  const capabilityLast = [...wanted].sort(([a], [b]) => Number(a === CAPABILITY) - Number(b === CAPABILITY))
  for (const [name, value] of capabilityLast) {
    if (present.get(name)?.equals(value) !== true) setXattr(place, name, value)
  }
}
