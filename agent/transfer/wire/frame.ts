import type { BufferPool } from '../../runtime/buffer-pool.ts'

/**
 * The framing of the transfer protocol: four bytes of length (big endian), one byte of type, a head of the type's fixed
 * length, the body. The length counts head and body. A body that is packed (zstd) has the highest bit of its type set and
 * its unpacked length, four bytes, between head and body. A length is judged by its type's limits before a single byte of
 * the body is taken in.
 */

/** Bytes of file content in one frame. Big enough that framing costs nothing, small enough to hold a few in memory. */
export const DATA_MAX_BYTES = 1024 * 1024
/** Bytes of manifest or block hashes in one frame. */
export const CHUNK_MAX_BYTES = 1024 * 1024
/** Small files in one want; the store's FILES_MAX. A position among them is two bytes. */
export const FILES_PER_WANT_MAX = 512
/** Wants in one frame: one of the longest kind (2 KiB) fits many times, thousands of block runs fit. */
export const WANTS_MAX_BYTES = 64 * 1024
/** JSON frames are small by nature: a hash, an error's few sentences. */
const JSON_MAX_BYTES = 16 * 1024
/** A question may carry a volume's record, which names every host with a copy and the last seizures: some hundred bytes each. */
const REQUEST_MAX_BYTES = 256 * 1024

const HEADER_BYTES = 5
const PACKED_BIT = 0x80
/** The unpacked length before a packed body. */
const UNPACKED_BYTES = 4

interface FrameShape {
  readonly code: number
  readonly headBytes: number
  readonly minBytes: number
  readonly maxBytes: number
  /** Whether the body may be packed. */
  readonly packs?: boolean
}

/** Every frame there is, with the bounds of its body. Codes never change their meaning. */
const FRAMES = {
  hello: { code: 1, headBytes: 0, minBytes: 2, maxBytes: JSON_MAX_BYTES },
  request: { code: 2, headBytes: 0, minBytes: 2, maxBytes: REQUEST_MAX_BYTES },
  tree: { code: 3, headBytes: 0, minBytes: 2, maxBytes: JSON_MAX_BYTES },
  manifest: { code: 4, headBytes: 0, minBytes: 1, maxBytes: CHUNK_MAX_BYTES, packs: true },
  manifestEnd: { code: 5, headBytes: 0, minBytes: 0, maxBytes: 0 },
  end: { code: 10, headBytes: 0, minBytes: 0, maxBytes: 0 },
  error: { code: 11, headBytes: 0, minBytes: 2, maxBytes: JSON_MAX_BYTES },
  ping: { code: 12, headBytes: 0, minBytes: 0, maxBytes: 0 },
  /** What an asker wants, several in a row. */
  wants: { code: 13, headBytes: 0, minBytes: 5, maxBytes: WANTS_MAX_BYTES },
  wantsEnd: { code: 14, headBytes: 0, minBytes: 0, maxBytes: 0 },
  /** Positions among the files of the next answer that the source could not deliver; only sent when there are any. */
  changed: { code: 15, headBytes: 0, minBytes: 2, maxBytes: FILES_PER_WANT_MAX * 2 },
  /** All of the files asked for, one after the other. */
  files: { code: 16, headBytes: 0, minBytes: 0, maxBytes: DATA_MAX_BYTES, packs: true },
  /** Head: whether it is the last of the list. */
  hashes: { code: 17, headBytes: 1, minBytes: 0, maxBytes: CHUNK_MAX_BYTES },
  /** Head: the place in the file. Which file and run, the order says. */
  piece: { code: 18, headBytes: 8, minBytes: 1, maxBytes: DATA_MAX_BYTES, packs: true },
  /** Head: whether the file is not what the manifest says any more. */
  runEnd: { code: 19, headBytes: 1, minBytes: 0, maxBytes: 0 },
  /** A part of a question's answer; the parts together are JSON. */
  answer: { code: 20, headBytes: 0, minBytes: 1, maxBytes: CHUNK_MAX_BYTES },
  /** Whole frames, one after the other (bundle.ts). */
  bundle: { code: 21, headBytes: 0, minBytes: HEADER_BYTES, maxBytes: DATA_MAX_BYTES, packs: true },
} as const satisfies Record<string, FrameShape>

export type FrameType = keyof typeof FRAMES

export interface Frame {
  readonly type: FrameType
  readonly head: Buffer
  /** Has an ArrayBuffer of its own. */
  readonly body: Buffer
  /** Length of the body once unpacked; undefined: it is not packed. */
  readonly unpackedBytes: number | undefined
}

/** What a source sends, and so all that an asker takes. */
export const SOURCE_FRAMES: ReadonlySet<FrameType> = new Set([
  'hello',
  'tree',
  'manifest',
  'manifestEnd',
  'changed',
  'files',
  'hashes',
  'piece',
  'runEnd',
  'bundle',
  'answer',
  'end',
  'error',
  'ping',
])
/** What carries a tree, and so counts against the bandwidth. A question must not wait behind copies. */
export const TREE_FRAMES: ReadonlySet<FrameType> = new Set(['manifest', 'files', 'hashes', 'piece', 'bundle'])
/** What an asker sends, and so all that a source takes. */
export const ASKER_FRAMES: ReadonlySet<FrameType> = new Set(['request', 'wants', 'wantsEnd', 'ping'])

const TYPE_BY_CODE = new Map(Object.entries(FRAMES).map(([type, { code }]) => [code as number, type as FrameType]))
const EMPTY: Buffer = Buffer.alloc(0)

/** The peer sent what the protocol does not allow: the connection is of no use any more. */
export class ProtocolViolation extends Error {
  override readonly name = 'ProtocolViolation'
}

/**
 * All of a frame before its body of `bodyBytes`. A frame out of its type's bounds is a mistake of our own: throws
 * RangeError.
 */
export function framePrefix(type: FrameType, bodyBytes: number, head = EMPTY, unpackedBytes?: number): Buffer {
  const shape = FRAMES[type]
  const fault = faultOf(shape, bodyBytes, unpackedBytes)
  if (fault !== undefined || head.length !== shape.headBytes)
    throw new RangeError(`${type} frame: ${fault ?? 'its head'}`)
  const packed = unpackedBytes !== undefined
  const prefix = Buffer.allocUnsafe(HEADER_BYTES + head.length + (packed ? UNPACKED_BYTES : 0))
  prefix.writeUInt32BE(prefix.length - HEADER_BYTES + bodyBytes, 0)
  prefix[4] = packed ? shape.code | PACKED_BIT : shape.code
  head.copy(prefix, HEADER_BYTES)
  if (packed) prefix.writeUInt32BE(unpackedBytes, HEADER_BYTES + head.length)
  return prefix
}

/** Whether bodies of a type may be packed. */
export function mayPack(type: FrameType): boolean {
  const shape: FrameShape = FRAMES[type]
  return shape.packs === true
}

/** What is wrong with the lengths of a frame; undefined: nothing. Packing that does not make smaller is never used. */
function faultOf(shape: FrameShape, bodyBytes: number, unpackedBytes?: number): string | undefined {
  const { minBytes, maxBytes, packs } = shape
  const bytes = unpackedBytes ?? bodyBytes
  if (bytes < minBytes || bytes > maxBytes) return `${bytes} bytes, allowed are ${minBytes} to ${maxBytes}`
  if (unpackedBytes === undefined) return undefined
  if (packs !== true) return 'packed, which its type never is'
  return bodyBytes === 0 || bodyBytes >= unpackedBytes ? `${bytes} bytes packed into ${bodyBytes}` : undefined
}

/** Cuts a stream of bytes into frames of the accepted types. Keeps at most one unfinished frame. Of no use after it threw. */
export class FrameDecoder {
  readonly #accepts: ReadonlySet<FrameType>
  readonly #memory: BufferPool
  readonly #header: Buffer = Buffer.allocUnsafe(HEADER_BYTES)
  #type: FrameType = 'ping'
  #packed = false
  #bytes = 0
  #head = EMPTY
  #body = EMPTY
  #unpackedBytes: number | undefined
  /** What is being filled now, and how far it is. */
  #stage: 'header' | 'head' | 'body' = 'header'
  #target: Buffer = this.#header
  #filled = 0

  constructor(accepts: ReadonlySet<FrameType>, memory: BufferPool) {
    this.#accepts = accepts
    this.#memory = memory
  }

  /** Whether all that came in were whole frames. */
  get isBetween(): boolean {
    return this.#stage === 'header' && this.#filled === 0
  }

  /** Takes bytes in (and keeps none of them), answers the frames they complete. Throws ProtocolViolation. */
  push(chunk: Buffer): Frame[] {
    const frames: Frame[] = []
    let at = 0
    while (at < chunk.length) {
      const taken = chunk.copy(this.#target, this.#filled, at)
      this.#filled += taken
      at += taken
      // A part of no bytes is complete at once.
      while (this.#filled === this.#target.length) {
        if (!this.#advance()) continue
        frames.push({ type: this.#type, head: this.#head, body: this.#body, unpackedBytes: this.#unpackedBytes })
        this.#fill('header', this.#header)
      }
    }
    return frames
  }

  /** Goes on to the next part; true when the frame is complete. */
  #advance(): boolean {
    if (this.#stage === 'header') this.#takeHeader()
    else if (this.#stage === 'head') this.#takeHead()
    else return true
    return false
  }

  #takeHeader(): void {
    this.#bytes = this.#header.readUInt32BE(0)
    const code = this.#header.readUInt8(4)
    const type = TYPE_BY_CODE.get(code & ~PACKED_BIT)
    if (type === undefined) throw new ProtocolViolation(`frame of unknown type ${code}`)
    if (!this.#accepts.has(type)) throw new ProtocolViolation(`a ${type} frame goes the other way`)
    this.#type = type
    this.#packed = (code & PACKED_BIT) !== 0
    const headBytes = FRAMES[type].headBytes + (this.#packed ? UNPACKED_BYTES : 0)
    // What is packed is shorter than what it becomes, so the same bound holds for both.
    const fault = this.#packed ? undefined : faultOf(FRAMES[type], this.#bytes - headBytes)
    if (this.#bytes < headBytes || this.#bytes - headBytes > FRAMES[type].maxBytes || fault !== undefined)
      throw new ProtocolViolation(`${type} frame of ${fault ?? `${this.#bytes} bytes`}`)
    this.#fill('head', Buffer.allocUnsafe(headBytes))
  }

  #takeHead(): void {
    const { headBytes } = FRAMES[this.#type]
    const bodyBytes = this.#bytes - this.#target.length
    this.#head = this.#target.subarray(0, headBytes)
    this.#unpackedBytes = this.#packed ? this.#target.readUInt32BE(headBytes) : undefined
    const fault = faultOf(FRAMES[this.#type], bodyBytes, this.#unpackedBytes)
    if (fault !== undefined) throw new ProtocolViolation(`${this.#type} frame of ${fault}`)
    // Not from Node's shared pool: it is given away to other threads.
    this.#body = this.#memory.take(bodyBytes)
    this.#fill('body', this.#body)
  }

  #fill(stage: 'header' | 'head' | 'body', target: Buffer): void {
    this.#stage = stage
    this.#target = target
    this.#filled = 0
  }
}
