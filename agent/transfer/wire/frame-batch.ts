import type { BufferPool } from '../../runtime/buffer-pool.ts'
import { DATA_MAX_BYTES, type Frame, FrameDecoder, type FrameType, framePrefix, ProtocolViolation } from './frame.ts'

/** Frame types that travel in batches. */
const BUNDLED: ReadonlySet<FrameType> = new Set(['piece', 'runEnd'])
/** Longer bodies travel alone: the cost of a frame does not matter there. */
const BODY_MAX_BYTES = 32 * 1024

/** A frame that was not sent yet. */
export interface Loose {
  readonly type: FrameType
  readonly body?: Buffer | undefined
  readonly head?: Buffer | undefined
}

/**
 * Collects consecutive small frames into one that is compressed and sent as a whole.
 * Sent one by one, each would cost more than its content.
 */
export class FrameBatch {
  #frames: Loose[] = []
  #parts: Buffer[] = []
  #bytes = 0

  /** Adds a frame; false: it must be sent alone, after the collected ones. */
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

  /** Returns the collected frames as one and starts again; null: there are none. */
  take(): Loose | null {
    const [[first, second], parts] = [this.#frames, this.#parts]
    this.#frames = []
    this.#parts = []
    this.#bytes = 0
    return second === undefined ? (first ?? null) : { type: 'bundle', body: Buffer.concat(parts) }
  }
}

/** Returns the frames of a batch in order, with their own memory. Throws ProtocolViolation. */
export function splitBatch(body: Buffer, memory: BufferPool): Frame[] {
  const decoder = new FrameDecoder(BUNDLED, memory)
  const frames = decoder.push(body)
  if (!decoder.isBetween) throw new ProtocolViolation('a bundle that ends within a frame')
  if (frames.some(({ unpackedBytes }) => unpackedBytes !== undefined))
    throw new ProtocolViolation('a packed frame in a bundle')
  return frames
}

const NOTHING = Buffer.alloc(0)
