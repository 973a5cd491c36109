/**
 * The framing of the transfer protocol: four bytes of payload length (big endian), one byte of type, the payload. A
 * length is judged by its type's limits before a single byte of the payload is taken in.
 */

/** Bytes of file content in one data frame. Big enough that framing costs nothing, small enough to hold a few in memory. */
export const DATA_MAX_BYTES = 1024 * 1024
/** Bytes of manifest in one frame. */
export const MANIFEST_CHUNK_MAX_BYTES = 1024 * 1024
/** Needs in one frame. */
export const NEEDS_PER_FRAME = 1024
/** A need is a file's index (4 bytes) and an offset (8 bytes); the head of a data frame is the same. */
export const POSITION_BYTES = 12
/** JSON frames are small by nature: a request, a hash, an error's few sentences. */
const JSON_MAX_BYTES = 16 * 1024

const HEADER_BYTES = 5

/** Every frame there is, with the bounds of its payload. Codes never change their meaning. */
const FRAMES = {
  hello: { code: 1, minBytes: 2, maxBytes: JSON_MAX_BYTES },
  request: { code: 2, minBytes: 2, maxBytes: JSON_MAX_BYTES },
  tree: { code: 3, minBytes: 2, maxBytes: JSON_MAX_BYTES },
  manifest: { code: 4, minBytes: 1, maxBytes: MANIFEST_CHUNK_MAX_BYTES },
  manifestEnd: { code: 5, minBytes: 0, maxBytes: 0 },
  needs: { code: 6, minBytes: POSITION_BYTES, maxBytes: NEEDS_PER_FRAME * POSITION_BYTES },
  needsEnd: { code: 7, minBytes: 0, maxBytes: 0 },
  data: { code: 8, minBytes: POSITION_BYTES + 1, maxBytes: POSITION_BYTES + DATA_MAX_BYTES },
  fileEnd: { code: 9, minBytes: 4, maxBytes: 4 },
  end: { code: 10, minBytes: 0, maxBytes: 0 },
  error: { code: 11, minBytes: 2, maxBytes: JSON_MAX_BYTES },
  ping: { code: 12, minBytes: 0, maxBytes: 0 },
} as const

export type FrameType = keyof typeof FRAMES

export interface Frame {
  readonly type: FrameType
  readonly payload: Buffer
}

/** What a source sends, and so all that an asker takes. */
export const SOURCE_FRAMES: ReadonlySet<FrameType> = new Set([
  'hello',
  'tree',
  'manifest',
  'manifestEnd',
  'data',
  'fileEnd',
  'end',
  'error',
  'ping',
])
/** What an asker sends, and so all that a source takes. */
export const ASKER_FRAMES: ReadonlySet<FrameType> = new Set(['request', 'needs', 'needsEnd', 'ping'])

const TYPE_BY_CODE = new Map(Object.entries(FRAMES).map(([type, { code }]) => [code as number, type as FrameType]))

/** The peer sent what the protocol does not allow: the connection is of no use any more. */
export class ProtocolViolation extends Error {
  override readonly name = 'ProtocolViolation'
}

/** The header of a frame with `bytes` of payload. A payload out of bounds is a mistake of our own: throws RangeError. */
export function frameHeader(type: FrameType, bytes: number): Buffer {
  const { code, minBytes, maxBytes } = FRAMES[type]
  if (bytes < minBytes || bytes > maxBytes) throw new RangeError(`${type} frame with ${bytes} bytes`)
  const header = Buffer.allocUnsafe(HEADER_BYTES)
  header.writeUInt32BE(bytes, 0)
  header[4] = code
  return header
}

/** Cuts a stream of bytes into frames of the accepted types. Keeps at most one unfinished frame. Of no use after it threw. */
export class FrameDecoder {
  readonly #accepts: ReadonlySet<FrameType>
  readonly #header = Buffer.allocUnsafe(HEADER_BYTES)
  #headerFilled = 0
  #type: FrameType = 'ping'
  #payload: Buffer | undefined
  #payloadFilled = 0

  constructor(accepts: ReadonlySet<FrameType>) {
    this.#accepts = accepts
  }

  /** Takes bytes in, answers the frames they complete. Throws ProtocolViolation. */
  push(chunk: Buffer): Frame[] {
    const frames: Frame[] = []
    let at = 0
    while (at < chunk.length) {
      at += this.#payload === undefined ? this.#takeHeader(chunk, at) : this.#takePayload(this.#payload, chunk, at)
      if (this.#payload === undefined || this.#payloadFilled < this.#payload.length) continue
      frames.push({ type: this.#type, payload: this.#payload })
      this.#payload = undefined
      this.#headerFilled = 0
    }
    return frames
  }

  #takeHeader(chunk: Buffer, at: number): number {
    const taken = chunk.copy(this.#header, this.#headerFilled, at)
    this.#headerFilled += taken
    if (this.#headerFilled === HEADER_BYTES) this.#begin()
    return taken
  }

  #begin(): void {
    const bytes = this.#header.readUInt32BE(0)
    const code = this.#header.readUInt8(4)
    const type = TYPE_BY_CODE.get(code)
    if (type === undefined) throw new ProtocolViolation(`frame of unknown type ${code}`)
    if (!this.#accepts.has(type)) throw new ProtocolViolation(`a ${type} frame goes the other way`)
    const { minBytes, maxBytes } = FRAMES[type]
    if (bytes < minBytes || bytes > maxBytes) {
      throw new ProtocolViolation(`${type} frame of ${bytes} bytes, allowed are ${minBytes} to ${maxBytes}`)
    }
    this.#type = type
    // Not from Node's shared pool: a writer may keep a payload, and must not keep others' with it.
    this.#payload = Buffer.allocUnsafeSlow(bytes)
    this.#payloadFilled = 0
  }

  #takePayload(payload: Buffer, chunk: Buffer, at: number): number {
    const taken = chunk.copy(payload, this.#payloadFilled, at)
    this.#payloadFilled += taken
    return taken
  }
}
