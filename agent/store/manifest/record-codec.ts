import { HASH_BYTES } from '../blocks/block-size.ts'
import { type BytePath, MAX_DEPTH, MAX_NAME_BYTES } from './byte-path.ts'
import { type Entry, type EntryKind, FLAGS_KEPT, type Xattrs } from './entry.ts'

/** Codes never change their meaning: they are on disks and on wires. 0 ends the records. */
const KIND_CODES: Readonly<Record<EntryKind, number>> = {
  dir: 1,
  file: 2,
  symlink: 3,
  fifo: 4,
  socket: 5,
  char: 6,
  block: 7,
  link: 8,
}
const KINDS: readonly (EntryKind | undefined)[] = [
  undefined,
  'dir',
  'file',
  'symlink',
  'fifo',
  'socket',
  'char',
  'block',
  'link',
]

/** Kind, depth, length of the name. */
export const HEAD_BYTES = 4
/** Mode, uid, gid, seconds, nanoseconds, flags, number of xattrs. */
const ATTRIBUTES_BYTES = 2 + 4 + 4 + 8 + 4 + 4 + 2
const SIZE_BYTES = 8
const NS_PER_SECOND = 1_000_000_000
const UINT32 = 2 ** 32
/** PATH_MAX of linux/limits.h without the NUL. */
const TARGET_MAX_BYTES = 4_095
/** XATTR_LIST_MAX and XATTR_SIZE_MAX of linux/limits.h: names with their NULs, one value. */
const XATTR_LIST_MAX_BYTES = 65_536
const XATTR_VALUE_MAX_BYTES = 65_536
/**
 * What one entry may carry in all.
 * ext4 holds 64 KiB per inode without further set-up, XFS and btrfs more.
 */
export const XATTRS_MAX_BYTES = 1024 * 1024
/** Kernel limits of device numbers. */
const MAJOR_MAX = 0xfff
const MINOR_MAX = 0xf_ffff

/** An entry's record without its place in the tree. */
export type Body = Entry extends infer E ? (E extends Entry ? Omit<E, 'path'> : never) : never

export function kindAt(buffer: Buffer, at: number): EntryKind {
  const kind = KINDS[buffer[at] ?? 0]
  if (kind === undefined) throw new Malformed('unknown kind of entry')
  return kind
}

export function depthAt(buffer: Buffer, at: number): number {
  return buffer.readUInt16LE(at + 1)
}

export function nameLengthAt(buffer: Buffer, at: number): number {
  return buffer[at + 3] ?? 0
}

export function nameAt(buffer: Buffer, at: number): BytePath {
  return buffer.toString('latin1', at + HEAD_BYTES, at + HEAD_BYTES + nameLengthAt(buffer, at))
}

/** Returns where the part after the name begins. */
function bodyOffset(buffer: Buffer, at: number): number {
  return at + HEAD_BYTES + nameLengthAt(buffer, at)
}

/** Returns an upper bound for the bytes of a record, to make room for it. */
export function recordRoom(name: BytePath, entry: Body): number {
  let bytes = HEAD_BYTES + name.length + ATTRIBUTES_BYTES + SIZE_BYTES + HASH_BYTES
  if (entry.kind === 'symlink') bytes += entry.target.length
  if (entry.kind !== 'link') for (const [key, value] of entry.xattrs) bytes += 5 + key.length + value.length
  return bytes
}

/** Writes one record at `at`; returns where it ends. The caller has made room. */
export function encodeRecord(buffer: Buffer, at: number, depth: number, name: BytePath, entry: Body): number {
  buffer[at] = KIND_CODES[entry.kind]
  buffer.writeUInt16LE(depth, at + 1)
  buffer[at + 3] = name.length
  let end = at + HEAD_BYTES + buffer.write(name, at + HEAD_BYTES, 'latin1')
  if (entry.kind === 'link') return buffer.writeUInt32LE(entry.to, end)
  end = buffer.writeUInt16LE(entry.mode, end)
  end = buffer.writeUInt32LE(entry.uid, end)
  end = buffer.writeUInt32LE(entry.gid, end)
  end = writeTime(buffer, end, entry.mtimeNs)
  end = buffer.writeUInt32LE(entry.flags, end)
  end = buffer.writeUInt16LE(entry.xattrs.length, end)
  for (const [key, value] of entry.xattrs) {
    buffer[end] = key.length
    end += 1 + buffer.write(key, end + 1, 'latin1')
    end = buffer.writeUInt32LE(value.length, end)
    end += value.copy(buffer, end)
  }
  if (entry.kind === 'file') {
    end = buffer.writeUInt32LE(entry.sizeBytes % UINT32, end)
    end = buffer.writeUInt32LE(Math.floor(entry.sizeBytes / UINT32), end)
    return end + entry.hash.copy(buffer, end)
  }
  if (entry.kind === 'symlink') {
    end = buffer.writeUInt16LE(entry.target.length, end)
    return end + buffer.write(entry.target, end, 'latin1')
  }
  if (entry.kind === 'char' || entry.kind === 'block') {
    return buffer.writeUInt32LE(entry.minor, buffer.writeUInt32LE(entry.major, end))
  }
  return end
}

function writeTime(buffer: Buffer, at: number, ns: bigint): number {
  let seconds = Number(ns / BigInt(NS_PER_SECOND))
  let rest = Number(ns % BigInt(NS_PER_SECOND))
  if (rest < 0) {
    seconds -= 1
    rest += NS_PER_SECOND
  }
  return buffer.writeUInt32LE(rest, buffer.writeDoubleLE(seconds, at))
}

/** A record that no program of ours writes. */
export class Malformed extends Error {
  override readonly name = 'Malformed'
}

function require(condition: boolean, fault: string): asserts condition {
  if (!condition) throw new Malformed(fault)
}

/**
 * Checks one record that may be hostile; returns where it ends. Throws Malformed.
 * There is one form for each entry, so equal trees have equal bytes.
 */
export function checkRecord(buffer: Buffer, at: number, index: number): number {
  require(at + HEAD_BYTES <= buffer.length, 'cut off')
  const kind = kindAt(buffer, at)
  require(depthAt(buffer, at) <= MAX_DEPTH, 'too deep')
  const end = bodyOffset(buffer, at)
  require(end <= buffer.length, 'cut off')
  checkName(buffer, at + HEAD_BYTES, end, index === 0)
  if (kind === 'link') {
    require(end + 4 <= buffer.length, 'cut off')
    require(buffer.readUInt32LE(end) < index, 'hard link to nothing')
    return end + 4
  }
  const extra = checkAttributes(buffer, end, kind)
  if (kind === 'file') return checkFile(buffer, extra)
  if (kind === 'symlink') return checkTarget(buffer, extra)
  if (kind !== 'char' && kind !== 'block') return extra
  require(extra + 8 <= buffer.length, 'cut off')
  require(buffer.readUInt32LE(extra) <= MAJOR_MAX && buffer.readUInt32LE(extra + 4) <= MINOR_MAX, 'device number')
  return extra + 8
}

function checkName(buffer: Buffer, start: number, end: number, root: boolean): void {
  if (root) {
    require(start === end, 'the first entry is not the root directory')
    return
  }
  require(end > start && end - start <= MAX_NAME_BYTES, 'length of a name')
  const dots = buffer[start] === 0x2e && (end === start + 1 || (end === start + 2 && buffer[start + 1] === 0x2e))
  require(!dots, '"." or ".." as a name')
  for (let at = start; at < end; at++) {
    const byte = buffer[at]
    require(byte !== 0 && byte !== 0x2f, 'NUL or "/" in a name')
  }
}

function checkAttributes(buffer: Buffer, at: number, kind: EntryKind): number {
  require(at + ATTRIBUTES_BYTES <= buffer.length, 'cut off')
  require(buffer.readUInt16LE(at) <= 0o7777, 'mode')
  const seconds = buffer.readDoubleLE(at + 10)
  require(Number.isSafeInteger(seconds) && !Object.is(seconds, -0), 'time')
  require(buffer.readUInt32LE(at + 18) < NS_PER_SECOND, 'time')
  const flags = buffer.readUInt32LE(at + 22)
  require((flags & ~FLAGS_KEPT) === 0 && (flags === 0 || kind === 'file' || kind === 'dir'), 'flags')
  return checkXattrs(buffer, at + ATTRIBUTES_BYTES, buffer.readUInt16LE(at + 26))
}

function checkXattrs(buffer: Buffer, start: number, count: number): number {
  let [at, previous, names] = [start, '', 0]
  for (let nth = 0; nth < count; nth++) {
    require(at < buffer.length, 'cut off')
    const valueAt = at + 1 + (buffer[at] ?? 0)
    require(valueAt + 4 <= buffer.length, 'cut off')
    const name = buffer.toString('latin1', at + 1, valueAt)
    require(name > previous && !name.includes('\0'), 'name of an extended attribute')
    previous = name
    names += name.length + 1
    const valueBytes = buffer.readUInt32LE(valueAt)
    require(valueBytes <= XATTR_VALUE_MAX_BYTES && names <= XATTR_LIST_MAX_BYTES, 'size of extended attributes')
    at = valueAt + 4 + valueBytes
    require(at <= buffer.length, 'cut off')
    require(at - start <= XATTRS_MAX_BYTES, 'size of extended attributes')
  }
  return at
}

function checkFile(buffer: Buffer, at: number): number {
  const end = at + SIZE_BYTES + HASH_BYTES
  require(end <= buffer.length, 'cut off')
  require(Number.isSafeInteger(sizeFrom(buffer, at)), 'size of a file')
  return end
}

function checkTarget(buffer: Buffer, at: number): number {
  require(at + 2 <= buffer.length, 'cut off')
  const end = at + 2 + buffer.readUInt16LE(at)
  require(end > at + 2 && end - at - 2 <= TARGET_MAX_BYTES && end <= buffer.length, 'length of a symlink target')
  require(!buffer.subarray(at + 2, end).includes(0), 'NUL in a symlink target')
  return end
}

/** Decodes a checked record's entry without its path. */
export function decodeBody(buffer: Buffer, at: number): Body {
  const kind = kindAt(buffer, at)
  const start = bodyOffset(buffer, at)
  if (kind === 'link') return { kind, to: buffer.readUInt32LE(start) }
  const [xattrs, extra] = readXattrs(buffer, start + ATTRIBUTES_BYTES, buffer.readUInt16LE(start + 26))
  const attributes = {
    mode: buffer.readUInt16LE(start),
    uid: buffer.readUInt32LE(start + 2),
    gid: buffer.readUInt32LE(start + 6),
    mtimeNs: BigInt(buffer.readDoubleLE(start + 10)) * BigInt(NS_PER_SECOND) + BigInt(buffer.readUInt32LE(start + 18)),
    flags: buffer.readUInt32LE(start + 22),
    xattrs,
  }
  if (kind === 'file') {
    const hash = buffer.subarray(extra + SIZE_BYTES, extra + SIZE_BYTES + HASH_BYTES)
    return { kind, ...attributes, sizeBytes: sizeFrom(buffer, extra), hash }
  }
  if (kind === 'symlink') {
    const target = buffer.toString('latin1', extra + 2, extra + 2 + buffer.readUInt16LE(extra))
    return { kind, ...attributes, target }
  }
  if (kind === 'char' || kind === 'block') {
    return { kind, ...attributes, major: buffer.readUInt32LE(extra), minor: buffer.readUInt32LE(extra + 4) }
  }
  return { kind, ...attributes }
}

function readXattrs(buffer: Buffer, start: number, count: number): [Xattrs, number] {
  const xattrs: [string, Buffer][] = []
  let at = start
  for (let nth = 0; nth < count; nth++) {
    const valueAt = at + 1 + (buffer[at] ?? 0)
    const end = valueAt + 4 + buffer.readUInt32LE(valueAt)
    xattrs.push([buffer.toString('latin1', at + 1, valueAt), buffer.subarray(valueAt + 4, end)])
    at = end
  }
  return [xattrs, at]
}

/** Returns the inode flags of a checked record that is no link. */
export function flagsAt(buffer: Buffer, at: number): number {
  return buffer.readUInt32LE(bodyOffset(buffer, at) + 22)
}

/** Whether a checked record that is no link has extended attributes or inode flags. */
export function isMarkedAt(buffer: Buffer, at: number): boolean {
  const start = bodyOffset(buffer, at)
  return buffer.readUInt32LE(start + 22) !== 0 || buffer.readUInt16LE(start + 26) !== 0
}

/** Returns the mtime of a checked record, in seconds. Not for a link. */
export function mtimeSecondsAt(buffer: Buffer, at: number): number {
  return buffer.readDoubleLE(bodyOffset(buffer, at) + 10)
}

export function mtimeRestAt(buffer: Buffer, at: number): number {
  return buffer.readUInt32LE(bodyOffset(buffer, at) + 18)
}

/** Returns the entry that a checked link record names. */
export function linkTargetAt(buffer: Buffer, at: number): number {
  return buffer.readUInt32LE(bodyOffset(buffer, at))
}

/** Returns size and hash of a checked file record, read from its end, where they are last. */
export function fileFacts(buffer: Buffer, end: number): { sizeBytes: number; hash: Buffer } {
  return { sizeBytes: fileSizeFrom(buffer, end), hash: buffer.subarray(end - HASH_BYTES, end) }
}

/** As `fileFacts`, the size alone. */
export function fileSizeFrom(buffer: Buffer, end: number): number {
  return sizeFrom(buffer, end - HASH_BYTES - SIZE_BYTES)
}

function sizeFrom(buffer: Buffer, at: number): number {
  return buffer.readUInt32LE(at + 4) * UINT32 + buffer.readUInt32LE(at)
}
