import type { BufferPool } from '../../runtime/buffer-pool.ts'

/**
 * The framing of the transfer protocol.
 * A frame is four bytes of length (big endian), one byte of type, a head of the type's fixed length, and the body.
 * The length counts head and body. The highest bit of the type marks a compressed body (zstd), whose length before
 * compression stands in four bytes between head and body. A length is checked against its type's limits before the
 * first byte of the body is accepted.
 */

/** Bytes of file content in one frame: enough that framing costs nothing, few enough to hold some in memory. */
export const DATA_MAX_BYTES = 1024 * 1024
/** Bytes of manifest or block hashes in one frame. */
export const CHUNK_MAX_BYTES = 1024 * 1024
/** Small files in one block request; equals the store's FILES_MAX. A position among them takes two bytes. */
export const FILES_PER_REQUEST_MAX = 512
/** Block requests in one frame: several of the longest kind (2 KiB), or thousands of block runs. */
export const REQUESTS_MAX_BYTES = 64 * 1024
/** JSON frames are small: a hash, or the few sentences of an error. */
const JSON_MAX_BYTES = 16 * 1024
/** A query may carry a volume's record: any that NATS takes, with some room for what is around it. */
const REQUEST_MAX_BYTES = 1024 * 1024 + 64 * 1024

const HEADER_BYTES = 5
const PACKED_BIT = 0x80
/** The length before compression, in front of a compressed body. */
const UNPACKED_BYTES = 4

interface FrameShape {
  readonly code: number
  readonly headBytes: number
  readonly minBytes: number
  readonly maxBytes: number
  /** Whether the body may be compressed. */
  readonly packs?: boolean
}

/** All frame types, with the limits of their bodies. Codes never change their meaning. */
const FRAMES = {
  hello: { code: 1, headBytes: 0, minBytes: 2, maxBytes: JSON_MAX_BYTES },
  request: { code: 2, headBytes: 0, minBytes: 2, maxBytes: REQUEST_MAX_BYTES },
  tree: { code: 3, headBytes: 0, minBytes: 2, maxBytes: JSON_MAX_BYTES },
  manifest: { code: 4, headBytes: 0, minBytes: 1, maxBytes: CHUNK_MAX_BYTES, packs: true },
  manifestEnd: { code: 5, headBytes: 0, minBytes: 0, maxBytes: 0 },
  end: { code: 10, headBytes: 0, minBytes: 0, maxBytes: 0 },
  error: { code: 11, headBytes: 0, minBytes: 2, maxBytes: JSON_MAX_BYTES },
  ping: { code: 12, headBytes: 0, minBytes: 0, maxBytes: 0 },
  /** Several block requests in a row. */
  blockRequests: { code: 13, headBytes: 0, minBytes: 5, maxBytes: REQUESTS_MAX_BYTES },
  blockRequestsEnd: { code: 14, headBytes: 0, minBytes: 0, maxBytes: 0 },
  /** Positions among the files of the next response that the source could not deliver; sent only when there are any. */
  changed: { code: 15, headBytes: 0, minBytes: 2, maxBytes: FILES_PER_REQUEST_MAX * 2 },
  /** All requested files, one after the other. */
  files: { code: 16, headBytes: 0, minBytes: 0, maxBytes: DATA_MAX_BYTES, packs: true },
  /** Head: whether it is the last of the list. */
  hashes: { code: 17, headBytes: 1, minBytes: 0, maxBytes: CHUNK_MAX_BYTES },
  /** Head: offset in the file. File and run follow from the order of the requests. */
  piece: { code: 18, headBytes: 8, minBytes: 1, maxBytes: DATA_MAX_BYTES, packs: true },
  /** Head: whether the file differs from the manifest by now. */
  runEnd: { code: 19, headBytes: 1, minBytes: 0, maxBytes: 0 },
  /** Part of a reply; the parts together are JSON. */
  reply: { code: 20, headBytes: 0, minBytes: 1, maxBytes: CHUNK_MAX_BYTES },
  /** Whole frames, one after the other (frame-batch.ts). */
  bundle: { code: 21, headBytes: 0, minBytes: HEADER_BYTES, maxBytes: DATA_MAX_BYTES, packs: true },
} as const satisfies Record<string, FrameShape>

export type FrameType = keyof typeof FRAMES

export interface Frame {
  readonly type: FrameType
  readonly head: Buffer
  /** Has its own ArrayBuffer. */
  readonly body: Buffer
  /** Length of the body before compression; undefined: it is not compressed. */
  readonly unpackedBytes: number | undefined
}

/** Frames that a source sends, and the only ones an asking host accepts. */
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
  'reply',
  'end',
  'error',
  'ping',
])
/** Frames that carry a tree and count against the rate limit. Queries must not wait behind copies. */
export const TREE_FRAMES: ReadonlySet<FrameType> = new Set(['manifest', 'files', 'hashes', 'piece', 'bundle'])
/** Frames that an asking host sends, and the only ones a source accepts. */
export const REQUESTER_FRAMES: ReadonlySet<FrameType> = new Set([
  'request',
  'blockRequests',
  'blockRequestsEnd',
  'ping',
])

const TYPE_BY_CODE = new Map(Object.entries(FRAMES).map(([type, { code }]) => [code as number, type as FrameType]))
const EMPTY: Buffer = Buffer.alloc(0)

/** The peer broke the protocol: the connection cannot be used any more. */
export class ProtocolViolation extends Error {
  override readonly name = 'ProtocolViolation'
}

/**
 * Returns the bytes of a frame that stand before its body of `bodyBytes`.
 * Throws RangeError for a frame out of its type's limits: that is a mistake in this code.
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

/** Tells whether bodies of a type may be compressed. */
export function mayPack(type: FrameType): boolean {
  const shape: FrameShape = FRAMES[type]
  return shape.packs === true
}

/** Returns what is wrong with the lengths of a frame; undefined: nothing. Compression that gains nothing is refused. */
function faultOf(shape: FrameShape, bodyBytes: number, unpackedBytes?: number): string | undefined {
  const { minBytes, maxBytes, packs } = shape
  const bytes = unpackedBytes ?? bodyBytes
  if (bytes < minBytes || bytes > maxBytes) return `${bytes} bytes, allowed are ${minBytes} to ${maxBytes}`
  if (unpackedBytes === undefined) return undefined
  if (packs !== true) return 'packed, which its type never is'
  return bodyBytes === 0 || bodyBytes >= unpackedBytes ? `${bytes} bytes packed into ${bodyBytes}` : undefined
}

/**
 * Cuts a stream of bytes into frames of the accepted types.
 * Keeps at most one unfinished frame. Must not be used after it threw.
 */
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
  /** The part that is being filled now, and how full it is. */
  #stage: 'header' | 'head' | 'body' = 'header'
  #target: Buffer = this.#header
  #filled = 0

  constructor(accepts: ReadonlySet<FrameType>, memory: BufferPool) {
    this.#accepts = accepts
    this.#memory = memory
  }

  /** Whether only whole frames have come in. */
  get isBetween(): boolean {
    return this.#stage === 'header' && this.#filled === 0
  }

  /**
   * Takes in bytes, keeps no reference to them, and returns the frames that they complete. Throws ProtocolViolation.
   */
  push(chunk: Buffer): Frame[] {
    const frames: Frame[] = []
    let at = 0
    while (at < chunk.length) {
      const taken = chunk.copy(this.#target, this.#filled, at)
      this.#filled += taken
      at += taken
      // An empty part is complete at once.
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
    // Compressed bytes are fewer than the bytes they expand to, so the same limit holds for both.
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
    // Not from Node's shared pool: it is handed to other threads.
    this.#body = this.#memory.take(bodyBytes)
    this.#fill('body', this.#body)
  }

  #fill(stage: 'header' | 'head' | 'body', target: Buffer): void {
    this.#stage = stage
    this.#target = target
    this.#filled = 0
  }
}
