import type { BufferPool } from '../../runtime/buffer-pool.ts'
import { DATA_MAX_BYTES, type Frame, FrameDecoder, type FrameType, framePrefix, ProtocolViolation } from './frame.ts'

/** What travels in bundles. */
const BUNDLED: ReadonlySet<FrameType> = new Set(['piece', 'runEnd'])
/** Longer bodies travel by themselves: there the cost of a frame is nothing. */
const BODY_MAX_BYTES = 32 * 1024

/** A frame that is not sent yet. */
export interface Loose {
  readonly type: FrameType
  readonly body?: Buffer | undefined
  readonly head?: Buffer | undefined
}

/** Gathers small frames that follow each other into one, to be packed and sent as a whole: one by one each of them costs more than its content. */
export class FrameBatch {
  #frames: Loose[] = []
  #parts: Buffer[] = []
  #bytes = 0

  /** False: the frame has to be sent by itself, after what was gathered. */
  add(frame: Loose): boolean {
    const { type, body = NOTHING, head } = frame
    if (!BUNDLED.has(type) || body.length > BODY_MAX_BYTES) return false
    const prefix = framePrefix(type, body.length, head)
    if (this.#bytes + prefix.length + body.length > DATA_MAX_BYTES) return false
    this.#frames.push(frame)
    this.#parts.push(prefix, body)
    this.#bytes += prefix.length + body.length
    return true
  }

  /** What was gathered, as one frame, and begins anew; null: nothing was. */
  take(): Loose | null {
    const [[first, second], parts] = [this.#frames, this.#parts]
    this.#frames = []
    this.#parts = []
    this.#bytes = 0
    return second === undefined ? (first ?? null) : { type: 'bundle', body: Buffer.concat(parts) }
  }
}

/** The frames of a bundle, in order, with memory of their own. Throws ProtocolViolation. */
export function splitBatch(body: Buffer, memory: BufferPool): Frame[] {
  const decoder = new FrameDecoder(BUNDLED, memory)
  const frames = decoder.push(body)
  if (!decoder.isBetween) throw new ProtocolViolation('a bundle that ends within a frame')
  if (frames.some(({ unpackedBytes }) => unpackedBytes !== undefined))
    throw new ProtocolViolation('a packed frame in a bundle')
  return frames
}

const NOTHING = Buffer.alloc(0)
