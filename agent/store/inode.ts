import { type BigIntStats, constants, lstatSync, readlinkSync } from 'node:fs'
import { getXattr, listXattrs } from '../sys/attributes.ts'
import { errnoOf } from '../sys/failure.ts'
import type { Attributes, InodeEntry, Xattrs } from './entry.ts'

/** The host's own policy gives files these labels, and containers get theirs when Docker starts them: they are not data. */
const HOST_XATTRS: ReadonlySet<string> = new Set(['security.selinux'])

export type InodeKind = InodeEntry['kind']

export function lstat(path: Buffer): BigIntStats {
  return lstatSync(path, { bigint: true })
}

export function kindOf(stat: BigIntStats): InodeKind | null {
  switch (Number(stat.mode) & constants.S_IFMT) {
    case constants.S_IFREG:
      return 'file'
    case constants.S_IFDIR:
      return 'dir'
    case constants.S_IFLNK:
      return 'symlink'
    case constants.S_IFIFO:
      return 'fifo'
    case constants.S_IFSOCK:
      return 'socket'
    case constants.S_IFCHR:
      return 'char'
    case constants.S_IFBLK:
      return 'block'
    default:
      return null
  }
}

/** Says whether two looks at a path saw the same inode in the same state. */
export function sameState(a: BigIntStats, b: BigIntStats): boolean {
  return a.ino === b.ino && a.size === b.size && a.mtimeNs === b.mtimeNs && a.ctimeNs === b.ctimeNs && a.mode === b.mode
}

export function attributesOf(path: Buffer, stat: BigIntStats): Attributes {
  return {
    flags: 0,
    mode: Number(stat.mode) & 0o7777,
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    mtimeNs: stat.mtimeNs,
    xattrs: readXattrs(path),
  }
}

/** All extended attributes that are data, sorted by name. One that vanishes between listing and reading is left out. */
export function readXattrs(path: Buffer): Xattrs {
  const xattrs: [string, Buffer][] = []
  for (const name of listXattrs(path).sort()) {
    if (HOST_XATTRS.has(name)) continue
    try {
      xattrs.push([name, getXattr(path, name)])
    } catch (error) {
      if (errnoOf(error) !== 'ENODATA') throw error
    }
  }
  return xattrs
}

export function readTarget(path: Buffer): string {
  return readlinkSync(path, { encoding: 'latin1' })
}

/** Splits Linux's 64-bit device number (glibc's gnu_dev_major and gnu_dev_minor). */
export function splitDevice(device: bigint): { major: number; minor: number } {
  return {
    major: Number(((device >> 8n) & 0xfffn) | ((device >> 32n) & 0xfffff000n)),
    minor: Number((device & 0xffn) | ((device >> 12n) & 0xffffff00n)),
  }
}

export function joinDevice(major: number, minor: number): bigint {
  const [high, low] = [BigInt(major), BigInt(minor)]
  return (low & 0xffn) | ((high & 0xfffn) << 8n) | ((low & ~0xffn) << 12n) | ((high & ~0xfffn) << 32n)
}
