import { FLAG_APPEND, FLAG_IMMUTABLE, FLAG_NOCOW, FLAG_NODUMP } from '../../sys/flags.ts'
import type { BytePath } from './byte-path.ts'

/** [name in latin1, value], sorted by name. */
export type Xattrs = readonly (readonly [string, Buffer])[]

/** Inode flags that are data; all others are the file system's own business. */
export const FLAGS_KEPT = FLAG_IMMUTABLE | FLAG_APPEND | FLAG_NODUMP | FLAG_NOCOW

export interface Attributes {
  /** Permission bits with suid, sgid and sticky, 0 to 0o7777. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly mtimeNs: bigint
  /** A set of FLAGS_KEPT; 0 for all but files and directories. */
  readonly flags: number
  readonly xattrs: Xattrs
}

interface Node extends Attributes {
  readonly path: BytePath
}

export interface DirectoryEntry extends Node {
  readonly kind: 'dir'
}
export interface FileEntry extends Node {
  readonly kind: 'file'
  readonly sizeBytes: number
  /**
   * SHA-256 of the content, or of the block hashes when there are several blocks (see block-size.ts). 32 bytes.
   * Holes count as zeros.
   */
  readonly hash: Buffer
}
export interface SymlinkEntry extends Node {
  readonly kind: 'symlink'
  readonly target: BytePath
}
export interface PipeEntry extends Node {
  readonly kind: 'fifo' | 'socket'
}
export interface DeviceEntry extends Node {
  readonly kind: 'char' | 'block'
  readonly major: number
  readonly minor: number
}
/** A further name of the inode that the earlier entry `to` (an index) describes. */
export interface LinkEntry {
  readonly kind: 'link'
  readonly path: BytePath
  readonly to: number
}

export type InodeEntry = DirectoryEntry | FileEntry | SymlinkEntry | PipeEntry | DeviceEntry
export type Entry = InodeEntry | LinkEntry
export type EntryKind = Entry['kind']

export function sameXattrs(a: Xattrs, b: Xattrs): boolean {
  return (
    a.length === b.length &&
    a.every(([name, value], nth) => {
      const other = b[nth]
      return other !== undefined && name === other[0] && value.equals(other[1])
    })
  )
}

/**
 * Whether two entries have the same attributes.
 * NOCOW does not count: many file systems do not know it, and none can change it in a file that has data.
 */
export function sameAttributes(a: Attributes, b: Attributes): boolean {
  return (
    a.mode === b.mode &&
    a.uid === b.uid &&
    a.gid === b.gid &&
    a.mtimeNs === b.mtimeNs &&
    (a.flags | FLAG_NOCOW) === (b.flags | FLAG_NOCOW) &&
    sameXattrs(a.xattrs, b.xattrs)
  )
}
