import { z } from 'zod'
import type { BytePath } from './path.ts'

/** [name, value in base64], names in latin1, sorted by name. */
export type Xattrs = readonly (readonly [string, string])[]

export interface Attributes {
  /** Permission bits with suid, sgid and sticky, 0 to 0o7777. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly mtimeNs: bigint
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
  /** Hex SHA-256 of all `sizeBytes` bytes, holes as zeros. */
  readonly hash: string
  /** Bytes the file takes on the source's disk when that is less than its size (holes). A hint for the space check; not part of the tree's hash. */
  readonly allocatedBytes?: number
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
/** One more name of the inode that the earlier entry `to` describes. */
export interface LinkEntry {
  readonly kind: 'link'
  readonly path: BytePath
  readonly to: BytePath
}

export type InodeEntry = DirectoryEntry | FileEntry | SymlinkEntry | PipeEntry | DeviceEntry
export type Entry = InodeEntry | LinkEntry

// Limits of the kernel: 32-bit ids, 12-bit major and 20-bit minor numbers, PATH_MAX for a symlink's target.
const id = z.int().min(0).max(0xffff_ffff)
const bytes = z.string().regex(/^[\0-\xff]*$/)
// Seconds are 64 bits signed in the kernel's interface; nanoseconds since 1970 as a decimal string.
const nanoseconds = z.string().regex(/^(0|-?[1-9][0-9]{0,26})$/)
const xattr = z.tuple([
  bytes.min(1).max(255),
  z
    .string()
    .regex(/^[A-Za-z0-9+/]*={0,2}$/)
    .max(90_000),
])
const node = {
  p: z.string(),
  m: z.int().min(0).max(0o7777),
  u: id,
  g: id,
  t: nanoseconds,
  x: z.array(xattr).min(1).max(4_096).optional(),
}

const LINE = z.discriminatedUnion('k', [
  z.strictObject({ ...node, k: z.literal('dir') }),
  z.strictObject({
    ...node,
    k: z.literal('file'),
    s: z.int().min(0),
    h: z.string().regex(/^[0-9a-f]{64}$/),
    d: z.int().min(0).optional(),
  }),
  z.strictObject({ ...node, k: z.literal('symlink'), l: bytes.min(1).max(4_095) }),
  z.strictObject({ ...node, k: z.literal(['fifo', 'socket']) }),
  z.strictObject({
    ...node,
    k: z.literal(['char', 'block']),
    a: z.int().min(0).max(0xfff),
    i: z.int().min(0).max(0xf_ffff),
  }),
  z.strictObject({ p: z.string(), k: z.literal('link'), to: z.string() }),
])

/** The entry's line without the hint `d`: these bytes are what the tree's hash covers. */
export function hashedLine(entry: Entry): string {
  return JSON.stringify(fields(entry, false))
}

/** The entry's line as it is stored and sent. */
export function storedLine(entry: Entry): string {
  return JSON.stringify(fields(entry, true))
}

/** Parses one line; throws on anything that this program would not have written exactly so (one form per entry, one hash per tree). */
export function parseLine(line: string): Entry {
  const entry = toEntry(LINE.parse(JSON.parse(line)))
  if (storedLine(entry) !== line) throw new Error('not in canonical form')
  if (entry.kind !== 'link' && !sortedByName(entry.xattrs)) throw new Error('extended attributes out of order')
  if (entry.kind === 'symlink' && entry.target.includes('\0')) throw new Error('NUL in a symlink target')
  return entry
}

function fields(entry: Entry, withHints: boolean): object {
  if (entry.kind === 'link') return { p: entry.path, k: entry.kind, to: entry.to }
  const common = { p: entry.path, k: entry.kind, m: entry.mode, u: entry.uid, g: entry.gid, t: String(entry.mtimeNs) }
  const line = entry.xattrs.length === 0 ? common : { ...common, x: entry.xattrs }
  if (entry.kind === 'symlink') return { ...line, l: entry.target }
  if (entry.kind === 'char' || entry.kind === 'block') return { ...line, a: entry.major, i: entry.minor }
  if (entry.kind !== 'file') return line
  const file = { ...line, s: entry.sizeBytes, h: entry.hash }
  return withHints && entry.allocatedBytes !== undefined ? { ...file, d: entry.allocatedBytes } : file
}

function toEntry(line: z.infer<typeof LINE>): Entry {
  if (line.k === 'link') return { kind: line.k, path: line.p, to: line.to }
  const common = {
    path: line.p,
    mode: line.m,
    uid: line.u,
    gid: line.g,
    mtimeNs: BigInt(line.t),
    xattrs: line.x ?? [],
  }
  if (line.k === 'dir') return { kind: line.k, ...common }
  if (line.k === 'symlink') return { kind: line.k, ...common, target: line.l }
  if ('a' in line) return { kind: line.k, ...common, major: line.a, minor: line.i }
  if (!('s' in line)) return { kind: line.k, ...common }
  const file = { kind: line.k, ...common, sizeBytes: line.s, hash: line.h }
  return line.d === undefined ? file : { ...file, allocatedBytes: line.d }
}

function sortedByName(xattrs: Xattrs): boolean {
  return xattrs.every(([name], index) => {
    const previous = xattrs[index - 1]
    return !name.includes('\0') && (previous === undefined || previous[0] < name)
  })
}
