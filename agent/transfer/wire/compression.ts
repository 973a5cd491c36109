import { promisify } from 'node:util'
import { constants, zstdCompress, zstdDecompressSync } from 'node:zlib'
import { ProtocolViolation } from './frame.ts'

/** The fastest of zstd's usual levels. Higher ones are slower than the lines on which compression pays. */
const LEVEL = 1
/** Below this size most of the cost is the frame itself. */
const PACK_MIN_BYTES = 4 * 1024
/** Bytes over which rates are measured: enough for a line's rate to show, little beside a copy worth compressing. */
const STRETCH_BYTES = 4 * 1024 * 1024
/** On slow lines a stretch ends after this time. */
const STRETCH_MS = 1_000
/** Data queued before a decision leaves within the first stretches, so these are not judged. */
const SETTLE_STRETCHES = 3
/** Waits after a sample or a trial that did not pay: doubled each time, up to the longest, a thousandth of the work. */
const RETRY_BYTES = 32 * 1024 * 1024
const RETRY_LONGEST_BYTES = 512 * 1024 * 1024
/** Compression must win by a tenth: it costs processor time that containers on the host could use. */
const GAIN = 1.1
/** Decompression costs about a third of compression. */
const UNPACK_SHARE = 1 / 3

/** Window that a frame may name: 1 MiB, as long as the longest body. zstd would allow 128 MiB. */
const WINDOW_LOG_MAX = 20

const compress = promisify(zstdCompress)

/** What was measured while a stretch of data was sent. */
export interface Stretch {
  readonly wallMs: number
  /** How long the sender waited for the line because it had more to send. */
  readonly blockedMs: number
  /** Bytes that the line took. */
  readonly wireBytes: number
  /** Bytes of content in them. */
  readonly contentBytes: number
}

/** How well a sample of the data compresses. */
export interface Sample {
  /** Compressed length divided by length. */
  readonly ratio: number
  /** Content bytes compressed per second. */
  readonly bytesPerSecond: number
}

/**
 * Tells whether a line of `lineBytesPerSecond` carries this data faster when compressed.
 * Counts as if compressing, sending and decompressing never overlapped, so it tends to leave the data alone.
 */
export function compressionPays(lineBytesPerSecond: number, sample: Sample): boolean {
  const plain = 1 / lineBytesPerSecond
  const packed = sample.ratio / lineBytesPerSecond + (1 + UNPACK_SHARE) / sample.bytesPerSecond
  return packed * GAIN < plain
}

/**
 * Returns the line's rate in bytes per second if the line was the bottleneck for plain data, else undefined.
 * Also undefined while most of the content has not left: the sender then waited for the first requests.
 */
export function lineRateOf(stretch: Stretch): number | undefined {
  if (stretch.wireBytes * 2 < stretch.contentBytes) return undefined
  return stretch.blockedMs * 2 >= stretch.wallMs ? (stretch.wireBytes * 1_000) / stretch.wallMs : undefined
}

/**
 * Decides from measurements whether the next stretch is compressed.
 * Only if the line was the bottleneck, a sample predicts a gain, and the gain then shows. Pure: reads no clock.
 */
export class CompressionPlan {
  packs = false
  #line: number | undefined
  /** Content bytes per second of the last plain stretch. */
  #plainRate = 0
  #settling = 0
  #retryBytes = RETRY_BYTES
  /** Content bytes until the next sample is worth its time. */
  #wait = 0

  /** Whether the next data should be compressed once, to learn how well it compresses. */
  get wantsSample(): boolean {
    return !this.packs && this.#line !== undefined && this.#wait <= 0
  }

  sampled(sample: Sample): void {
    this.packs = this.#line !== undefined && compressionPays(this.#line, sample)
    this.#settling = SETTLE_STRETCHES
    if (!this.packs) this.#waitLonger()
  }

  sent(stretch: Stretch): void {
    const rate = (stretch.contentBytes * 1_000) / stretch.wallMs
    if (!this.packs) {
      this.#line = lineRateOf(stretch)
      this.#plainRate = rate
      this.#wait -= stretch.contentBytes
    } else if (this.#settling > 0) {
      this.#settling -= 1
    } else if (rate < this.#plainRate * GAIN) {
      this.packs = false
      this.#waitLonger()
    } else {
      this.#retryBytes = RETRY_BYTES
    }
  }

  #waitLonger(): void {
    this.#wait = this.#retryBytes
    this.#retryBytes = Math.min(this.#retryBytes * 2, RETRY_LONGEST_BYTES)
  }
}

/** Bytes that a sender's line has taken so far, and how long the sender waited for it. */
export interface LineMeter {
  readonly wireBytes: number
  readonly blockedMs: number
}

export interface Compressed {
  readonly body: Buffer
  /** Undefined: the body is unchanged. */
  readonly unpackedBytes: number | undefined
}

/** Compresses what is sent over one line, where that pays. */
export class Compressor {
  readonly #meter: LineMeter
  readonly #plan = new CompressionPlan()
  #from = { wireBytes: 0, blockedMs: 0, atMs: performance.now() }
  #contentBytes = 0
  #sampling = false

  constructor(meter: LineMeter) {
    this.#meter = meter
  }

  /** Compresses `body`, or returns it unchanged. Does not modify it; calls may overlap. */
  async pack(body: Buffer): Promise<Compressed> {
    this.#count(body.length)
    if (body.length < PACK_MIN_BYTES) return plain(body)
    if (this.#plan.wantsSample && !this.#sampling) await this.#sample(body)
    if (!this.#plan.packs) return plain(body)
    const packed = await squeeze(body)
    return packed.length < body.length ? { body: packed, unpackedBytes: body.length } : plain(body)
  }

  async #sample(data: Buffer): Promise<void> {
    this.#sampling = true
    const startedMs = performance.now()
    const packed = await squeeze(data)
    const tookMs = Math.max(performance.now() - startedMs, 0.001)
    this.#sampling = false
    this.#plan.sampled({ ratio: packed.length / data.length, bytesPerSecond: (data.length * 1_000) / tookMs })
  }

  #count(bytes: number): void {
    this.#contentBytes += bytes
    const atMs = performance.now()
    const wallMs = atMs - this.#from.atMs
    if (wallMs <= 0 || (this.#contentBytes < STRETCH_BYTES && wallMs < STRETCH_MS)) return
    const { wireBytes, blockedMs } = this.#meter
    this.#plan.sent({
      wallMs,
      blockedMs: blockedMs - this.#from.blockedMs,
      wireBytes: wireBytes - this.#from.wireBytes,
      contentBytes: this.#contentBytes,
    })
    this.#from = { wireBytes, blockedMs, atMs }
    this.#contentBytes = 0
  }
}

function plain(body: Buffer): Compressed {
  return { body, unpackedBytes: undefined }
}

/** Runs in another thread; returns its output in one piece. */
function squeeze(data: Buffer): Promise<Buffer> {
  return compress(data, { chunkSize: data.length, params: { [constants.ZSTD_c_compressionLevel]: LEVEL } })
}

/**
 * Decompresses a body into a buffer that has its own ArrayBuffer.
 * Uses no more memory than `unpackedBytes`, which the frame's limits bound, and one window.
 * Throws ProtocolViolation for garbage, another length, or bytes after the end.
 */
export function unpack(body: Buffer, unpackedBytes: number): Buffer {
  const { data, readBytes } = expand(body, unpackedBytes)
  if (data.length !== unpackedBytes)
    throw new ProtocolViolation(`${data.length} bytes were packed, announced were ${unpackedBytes}`)
  if (readBytes !== body.length) throw new ProtocolViolation('a packed body with something after its end')
  if (data.buffer.byteLength <= unpackedBytes + 1) return data
  const own = Buffer.allocUnsafeSlow(data.length)
  data.copy(own)
  return own
}

function expand(body: Buffer, unpackedBytes: number): { data: Buffer; readBytes: number } {
  const options = {
    info: true,
    // One byte more than needed, so that zlib sees the end without a second chunk.
    chunkSize: Math.max(unpackedBytes + 1, constants.Z_MIN_CHUNK),
    maxOutputLength: unpackedBytes,
    params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG_MAX },
  }
  try {
    // Node's types do not describe the effect of `info`.
    const { buffer, engine } = zstdDecompressSync(body, options) as unknown as {
      buffer: Buffer
      engine: { bytesWritten: number }
    }
    return { data: buffer, readBytes: engine.bytesWritten }
  } catch (error) {
    throw new ProtocolViolation(`a packed body that cannot be unpacked: ${(error as Error).message}`)
  }
}
