import { type BigIntStats, closeSync, lstatSync, readlinkSync } from 'node:fs'
import { getXattr, getXattrAt, listXattrs, listXattrsAt } from '../../sys/attributes.ts'
import { errnoOf } from '../../sys/failure.ts'
import { FLAG_NOCOW, getFlags } from '../../sys/flags.ts'
import { ATTRIBUTE_APPEND, ATTRIBUTE_IMMUTABLE, ATTRIBUTE_NODUMP, type StatBuffer, statAt } from '../../sys/stat.ts'
import { HASH_BYTES } from '../blocks/block-size.ts'
import type { BytePath } from '../manifest/byte-path.ts'
import type { Attributes, Xattrs } from '../manifest/entry.ts'
import type { Body } from '../manifest/record-codec.ts'
import { at, openFile } from './directory.ts'

/**
 * Extended attributes that are not data.
 * The host's own policy gives files its labels (containers get theirs when Docker starts them).
 * XFS lists its form of ACLs beside system.posix_acl_* (xfs_xattr_put_listent in the kernel's fs/xfs/xfs_xattr.c).
 */
const HOST_XATTRS: ReadonlySet<string> = new Set([
  'security.selinux',
  'trusted.SGI_ACL_FILE',
  'trusted.SGI_ACL_DEFAULT',
])
/** These bits mean the same as the inode flags of the same numbers (statx(2)). */
const FLAG_BITS = ATTRIBUTE_IMMUTABLE | ATTRIBUTE_APPEND | ATTRIBUTE_NODUMP
/** Error for an attribute that vanished. */
const GONE = 'ENODATA'

export type InodeBody = Exclude<Body, { kind: 'link' }>

/** Placeholder in a description until the content is hashed. */
export const NO_HASH = Buffer.alloc(HASH_BYTES)

/** Tells whether a name is still the same inode in the same state. */
export interface State {
  readonly mode: number
  readonly inoLow: number
  readonly inoHigh: number
  readonly sizeBytes: number
  readonly ctimeSeconds: number
  readonly ctimeRestNs: number
  readonly mtimeSeconds: number
  readonly mtimeRestNs: number
}

export function inodeState(stat: StatBuffer): State {
  return {
    mode: stat.modeAndType,
    inoLow: stat.inoLow,
    inoHigh: stat.inoHigh,
    sizeBytes: stat.sizeBytes,
    ctimeSeconds: stat.ctimeSeconds,
    ctimeRestNs: stat.ctimeRestNs,
    mtimeSeconds: stat.mtimeSeconds,
    mtimeRestNs: stat.mtimeRestNs,
  }
}

export function sameState(a: State, stat: StatBuffer): boolean {
  return (
    a.inoLow === stat.inoLow &&
    a.inoHigh === stat.inoHigh &&
    a.ctimeRestNs === stat.ctimeRestNs &&
    a.ctimeSeconds === stat.ctimeSeconds &&
    a.mtimeRestNs === stat.mtimeRestNs &&
    a.mtimeSeconds === stat.mtimeSeconds &&
    a.sizeBytes === stat.sizeBytes &&
    a.mode === stat.modeAndType
  )
}

/**
 * Describes `name` in the held directory ('' is the directory itself), whose state `stat` has.
 * Does not follow a symlink; a file's hash is NO_HASH. `nocow`: the file system knows that flag.
 * Null: a kind that no manifest can represent.
 */
export function describeAt(fd: number, name: BytePath, stat: StatBuffer, nocow: boolean): InodeBody | null {
  const { kind } = stat
  if (kind === undefined) return null
  const attributes = attributesAt(fd, name, stat, nocow)
  if (kind === 'file') return { kind, ...attributes, sizeBytes: stat.sizeBytes, hash: NO_HASH }
  if (kind === 'symlink') return { kind, ...attributes, target: readTarget(at(fd, name)) }
  if (kind === 'char' || kind === 'block') {
    return { kind, ...attributes, major: stat.rdevMajor, minor: stat.rdevMinor }
  }
  return { kind, ...attributes }
}

/**
 * Returns the attributes of `name` in the held directory, whose state `stat` has.
 * `nocow`: the file system knows that flag.
 */
export function attributesAt(fd: number, name: BytePath, stat: StatBuffer, nocow: boolean): Attributes {
  const { kind } = stat
  const flagged = kind === 'file' || kind === 'dir'
  return {
    mode: stat.mode,
    uid: stat.uid,
    gid: stat.gid,
    mtimeNs: stat.mtimeNs(),
    flags: flagged ? (stat.attributes & FLAG_BITS) | (nocow ? nocowOf(fd, name) : 0) : 0,
    xattrs: readXattrsAt(fd, name),
  }
}

/** statx does not report this flag: the file must be opened. */
function nocowOf(directory: number, name: BytePath): number {
  const fd = openFile(directory, name === '' ? '.' : name)
  try {
    return (getFlags(fd) ?? 0) & FLAG_NOCOW
  } finally {
    closeSync(fd)
  }
}

/**
 * Reads all extended attributes that are data, sorted by name.
 * One that vanishes meanwhile is left out.
 */
function readXattrsAt(fd: number, name: BytePath): Xattrs {
  return collect(listXattrsAt(fd, name), (key) => getXattrAt(fd, name, key))
}

/** As `readXattrsAt`, by path. */
export function readXattrs(path: Buffer): Xattrs {
  return collect(listXattrs(path), (key) => getXattr(path, key))
}

function collect(names: string[], read: (name: string) => Buffer): Xattrs {
  const xattrs: [string, Buffer][] = []
  for (const name of names.sort()) {
    if (HOST_XATTRS.has(name)) continue
    try {
      xattrs.push([name, read(name)])
    } catch (error) {
      if (errnoOf(error) !== GONE) throw error
    }
  }
  return xattrs
}

export function lstat(path: Buffer): BigIntStats {
  return lstatSync(path, { bigint: true })
}

function readTarget(path: Buffer): BytePath {
  return readlinkSync(path, { encoding: 'latin1' })
}

/** Reads the state of `name` again; false: it, or what leads to it, is not there any more. */
export function statAgain(fd: number, name: BytePath, stat: StatBuffer): boolean {
  try {
    statAt(fd, name, stat)
    return true
  } catch (error) {
    if (movedAway(error)) return false
    throw error
  }
}

/** Whether the error means that the name vanished or changed its kind between two calls. */
export function movedAway(error: unknown): boolean {
  return isMovedAway(errnoOf(error))
}

export function isMovedAway(errno: string | undefined): boolean {
  return errno !== undefined && ['ENOENT', 'ENOTDIR', 'EISDIR', 'ELOOP', 'ENXIO', 'ESTALE'].includes(errno)
}

/** Linux's 64-bit device number (glibc's gnu_dev_makedev). */
export function joinDevice(major: number, minor: number): bigint {
  const [high, low] = [BigInt(major), BigInt(minor)]
  return (low & 0xffn) | ((high & 0xfffn) << 8n) | ((low & ~0xffn) << 12n) | ((high & ~0xfffn) << 32n)
}
