import { type BpfMap, type BpfObject, loadBpf } from '../../sys/bpf.ts'
import { errnoName } from '../../sys/failure.ts'
import { pageBytes } from '../../sys/process.ts'
import { WHOLE_FILE } from './change-log.ts'
import type { Cursor } from './contract.ts'
import { PLACES_BYTES } from './touched-since.ts'

/** struct key, the value of `dirty`, struct counters, struct settings: dirty.bpf.c. */
const KEY_BYTES = 16
const MARK_BYTES = 4
const INODE_BYTES = 8
const COUNTERS_BYTES = 24
/** The number of a cut. */
const CUT_BYTES = 4
const SETTINGS_BYTES = 12
/** 4 GiB of scattered changes between two cuts; 25 MB of the kernel's memory, taken when it is loaded. */
const DIRTY_BLOCKS_MAX = 262_144
/** Files; 4 MB of memory, and 80 bytes for each that is watched. */
const WATCHED_INODES_MAX = 262_144
const WHOLE = 2n ** 64n - 1n

/** Which probe in the kernel noted a block: bits of the value. */
export const BY = { dirty: 1, directBegin: 2, directEnd: 4, truncate: 8, zero: 16, remap: 32 } as const

export type FileSystemName = 'ext4' | 'xfs'

/** The tracker's program in the kernel. */
export interface KernelPart extends Disposable {
  /** Begins to note events on these inodes; returns how many of them, in their order, there was room for. */
  add(inodes: readonly bigint[]): number
  remove(inodes: readonly bigint[]): void
  /**
   * Reads and removes what was noted; returns how many there were.
   * The block is WHOLE_FILE for a whole file.
   */
  drain(take: (inode: bigint, block: number, by: number) => void): number
  /** Returns how many events could not be noted so far, and the reason for the last of them. */
  lost(): { readonly events: bigint; readonly why: string }
  /** Events from now on come after this cut. */
  begin(cut: Cursor): void
  /** Returns a copy of the places, see touched-since.ts. */
  places(): Uint32Array
}

/** Settings of the program, made before it starts. */
export interface KernelSettings {
  readonly fileSystem: FileSystemName
  /** Device of the file system, as stat(2) splits it. */
  readonly major: number
  readonly minor: number
  /** For tests: every so many-th event is dropped; 0: none. */
  readonly dropEvery: number
  /** For tests: room for fewer blocks than DIRTY_BLOCKS_MAX. */
  readonly dirtyBlocksMax?: number
  /** For tests: a program that is left out, to show that it is needed. */
  readonly without?: string
  /** Whether the kernel has a function of that name. */
  readonly has: (name: string) => boolean
}

/**
 * Loads the program and attaches all of it.
 * Throws SystemCallError, or an Error when libbpf is missing.
 */
export function openKernelPart(objectPath: string, settings: KernelSettings): KernelPart {
  const constants = Buffer.alloc(SETTINGS_BYTES)
  // The kernel's own dev_t; the one of stat(2) has its bits elsewhere.
  constants.writeUInt32LE(((settings.major << 20) | settings.minor) >>> 0, 0)
  constants.writeUInt32LE(Math.log2(pageBytes()), 4)
  constants.writeUInt32LE(settings.dropEvery, 8)
  const rooms = { dirty: settings.dirtyBlocksMax ?? DIRTY_BLOCKS_MAX, watched: WATCHED_INODES_MAX }
  const object = loadBpf(objectPath, { constants, rooms, wants: (program) => isWanted(program, settings) })
  try {
    const dirty = object.map('dirty', KEY_BYTES, MARK_BYTES)
    const watched = object.map('watched', INODE_BYTES, MARK_BYTES)
    const counters = object.map('counters', 4, COUNTERS_BYTES)
    const cuts = object.map('cuts', 4, CUT_BYTES)
    const touched = object.map('touched', 4, PLACES_BYTES)
    return kernelPart(object, { dirty, watched, counters, cuts, touched })
  } catch (error) {
    object[Symbol.dispose]()
    throw error
  }
}

function isWanted(program: string, { fileSystem, has, without }: KernelSettings): boolean {
  if (program === without) return false
  if (program === 'xfs_on_exchange' && !has('xfs_exchange_range')) return false
  const [, only] = /^(ext4|xfs)_/.exec(program) ?? []
  return only === undefined || only === fileSystem
}

type Maps = Readonly<Record<'dirty' | 'watched' | 'counters' | 'cuts' | 'touched', BpfMap>>

function kernelPart(object: BpfObject, { dirty, watched, counters, cuts, touched }: Maps): KernelPart {
  const zero = Buffer.alloc(4)
  const counts = Buffer.alloc(COUNTERS_BYTES)
  return {
    add: (inodes) => (inodes.length === 0 ? 0 : watched.add(keysOf(inodes))),
    remove: (inodes) => watched.remove(keysOf(inodes)),
    drain: (take) => {
      let drained = 0
      dirty.drain((keys, values, count) => {
        for (let index = 0; index < count; index += 1) {
          const block = keys.readBigUInt64LE(index * KEY_BYTES + 8)
          const by = values.readUInt32LE(index * MARK_BYTES)
          take(keys.readBigUInt64LE(index * KEY_BYTES), block === WHOLE ? WHOLE_FILE : Number(block), by)
        }
        drained += count
      })
      return drained
    },
    lost: () => {
      counters.read(zero, counts)
      const misses = BigInt(object.misses())
      const why = misses > 0n ? 'its program was interrupted by itself' : errnoName(Number(counts.readBigUInt64LE(16)))
      return { events: counts.readBigUInt64LE(0) + misses, why }
    },
    begin: (cut) => cuts.write(zero, Buffer.from(new Uint32Array([cut]).buffer)),
    places: () => {
      const places = new Uint32Array(PLACES_BYTES / CUT_BYTES)
      touched.read(zero, Buffer.from(places.buffer))
      return places
    },
    [Symbol.dispose]: () => object[Symbol.dispose](),
  }
}

function keysOf(inodes: readonly bigint[]): Buffer {
  return Buffer.from(new BigUint64Array(inodes).buffer)
}
