import { constants } from 'node:fs'
import { cString, failure, type Native, native } from './libc.ts'
import { nameBytes } from './name.ts'

const AT_SYMLINK_NOFOLLOW = 0x100
const AT_NO_AUTOMOUNT = 0x800
const AT_EMPTY_PATH = 0x1000
const AT_STATX_DONT_SYNC = 0x4000
const AT_FDCWD = -100
const STATX_BASIC_STATS = 0x7ff
/** Size of struct statx with its spare fields. */
const STATX_BYTES = 256
const TWO_TO_32 = 2 ** 32
export const NS_PER_SECOND = 1_000_000_000n
/** A file's `blocks` are units of 512 bytes, whatever the file system's block size (statx(2)). */
export const STAT_BLOCK_BYTES = 512

/** Attribute bits of statx(2), STATX_ATTR_*; the same numbers as the inode flags of ioctl_iflags(2). */
export const ATTRIBUTE_IMMUTABLE = 0x10
export const ATTRIBUTE_APPEND = 0x20
export const ATTRIBUTE_NODUMP = 0x40

export type Kind = 'file' | 'dir' | 'symlink' | 'fifo' | 'socket' | 'char' | 'block'

const KINDS: ReadonlyMap<number, Kind> = new Map([
  [constants.S_IFREG, 'file'],
  [constants.S_IFDIR, 'dir'],
  [constants.S_IFLNK, 'symlink'],
  [constants.S_IFIFO, 'fifo'],
  [constants.S_IFSOCK, 'socket'],
  [constants.S_IFCHR, 'char'],
  [constants.S_IFBLK, 'block'],
])

/**
 * The last result of statx(2), read in place.
 * Making no object and no BigInt keeps a scan of 100,000 files cheap.
 * Fields are those of struct statx (x86-64 and arm64, little-endian). Numbers are exact: sizes and seconds stay below
 * 2^53 on every Linux file system.
 */
export class StatBuffer {
  readonly bytes = Buffer.from(new ArrayBuffer(STATX_BYTES))
  readonly #half = new Uint16Array(this.bytes.buffer)
  readonly #word = new Uint32Array(this.bytes.buffer)
  readonly #signed = new Int32Array(this.bytes.buffer)
  readonly #long = new BigUint64Array(this.bytes.buffer)

  /** STATX_ATTR_* bits that are set; `attributesKnown` has those that the file system supports. */
  get attributes(): number {
    return this.#at(2)
  }
  get attributesKnown(): number {
    return this.#at(14)
  }
  get nlink(): number {
    return this.#at(4)
  }
  get uid(): number {
    return this.#at(5)
  }
  get gid(): number {
    return this.#at(6)
  }
  /** Type and permission bits. */
  get modeAndType(): number {
    return this.#half[14] ?? 0
  }
  /** Permission bits with suid, sgid and sticky, 0 to 0o7777. */
  get mode(): number {
    return this.modeAndType & 0o7777
  }
  /** Undefined for a type that Linux does not have. */
  get kind(): Kind | undefined {
    return KINDS.get(this.modeAndType & constants.S_IFMT)
  }
  get ino(): bigint {
    return this.#long[4] ?? 0n
  }
  /** The inode number in two halves, for comparing without a BigInt. */
  get inoLow(): number {
    return this.#at(8)
  }
  get inoHigh(): number {
    return this.#at(9)
  }
  get sizeBytes(): number {
    return this.#at(10) + this.#at(11) * TWO_TO_32
  }
  /** Allocated space in units of 512 bytes. */
  get blocks(): number {
    return this.#at(12) + this.#at(13) * TWO_TO_32
  }
  get ctimeSeconds(): number {
    return this.#seconds(24)
  }
  /** Nanoseconds after `ctimeSeconds`, 0 to 999,999,999. */
  get ctimeRestNs(): number {
    return this.#at(26)
  }
  /** Nanoseconds since 1970, exact. */
  ctimeNs(): bigint {
    return BigInt(this.ctimeSeconds) * NS_PER_SECOND + BigInt(this.ctimeRestNs)
  }
  get mtimeSeconds(): number {
    return this.#seconds(28)
  }
  get mtimeRestNs(): number {
    return this.#at(30)
  }
  mtimeNs(): bigint {
    return BigInt(this.mtimeSeconds) * NS_PER_SECOND + BigInt(this.mtimeRestNs)
  }
  /** The device that a device node stands for. */
  get rdevMajor(): number {
    return this.#at(32)
  }
  get rdevMinor(): number {
    return this.#at(33)
  }
  /** The file system of the file. */
  get devMajor(): number {
    return this.#at(34)
  }
  get devMinor(): number {
    return this.#at(35)
  }

  #at(index: number): number {
    return this.#word[index] ?? 0
  }

  #seconds(index: number): number {
    return this.#at(index) + (this.#signed[index + 1] ?? 0) * TWO_TO_32
  }
}

/** Kept for speed: looking it up costs a tenth of the call. */
let statx: Native | undefined

/**
 * Reads the status of `name` (one character per byte) in a held directory, O_PATH or not. statx(2).
 * Does not follow a symlink; '' is the file behind `directoryFd`, of any kind.
 * On a network file system as fresh as stat(2). Takes about 1 us.
 * Throws SystemCallError: ENOENT and the like, EINVAL for '..' and names with a slash or NUL.
 */
export function statAt(directoryFd: number, name: string, into: StatBuffer): void {
  statx ??= native('statx')
  const flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (name === '' ? AT_EMPTY_PATH : 0)
  if (statx(directoryFd, nameBytes(name), flags, STATX_BASIC_STATS, into.bytes) < 0) throw failure('statx', name)
}

/**
 * Reads the status of a path from what the kernel knows by itself; follows symlinks.
 * No server of a network file system or of FUSE is asked, except that NFS may ask its server.
 * `dev` is `major:minor`. Throws SystemCallError.
 */
export function cachedStat(path: string): { dev: string; ino: number; kind: Kind | undefined } {
  statx ??= native('statx')
  const into = new StatBuffer()
  const flags = AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC
  if (statx(AT_FDCWD, cString(path), flags, STATX_BASIC_STATS, into.bytes) < 0) throw failure('statx', path)
  return { dev: `${into.devMajor}:${into.devMinor}`, ino: Number(into.ino), kind: into.kind }
}
