import type { TLSSocket } from 'node:tls'
import { WherryError } from '../../model/errors.ts'
import type { BufferPool } from '../../runtime/buffer-pool.ts'
import { type LineMeter, unpack } from '../wire/compression.ts'
import { type Frame, FrameDecoder, type FrameType, framePrefix, ProtocolViolation, TREE_FRAMES } from '../wire/frame.ts'
import { splitBatch } from '../wire/frame-batch.ts'
import type { RateLimit } from './rate-limit.ts'

/** Length of one tick. Pings and silence are counted in ticks. */
const TICK_MS = 1_000
/** A busy peer pings this often, so that one or two lost pings do not matter. */
const PING_TICKS = 2
/**
 * A peer that sends no byte for this long while this host waits for one is gone.
 * Counted in ticks, not read from a clock: after this process was stopped (a suspended host, a long pause),
 * only one tick passes before the bytes that arrived meanwhile are read.
 */
const SILENCE_TICKS = 10
/** `send` waits once this much is not yet with the kernel. The next frame is prepared meanwhile. */
const UNSENT_MAX_BYTES = 1024 * 1024
/** Frames received and not yet asked for may have this many bytes: one is written while the next arrives. */
const UNREAD_MAX_BYTES = 2 * 1024 * 1024
/** Limits frames without a body, too. */
const UNREAD_MAX_FRAMES = 4_096
/**
 * Bodies up to this size are copied into one write if they are sent within one turn of the event loop.
 * Larger bodies are written as they are.
 */
const JOIN_MAX_BYTES = 64 * 1024

export interface ChannelOptions {
  /** Name of the other end, for messages. */
  readonly peer: string
  /** The only frames taken from the peer. */
  readonly accepts: ReadonlySet<FrameType>
  /** Makes the error for a connection that ended by itself. `heard`: at least one frame came from the peer. */
  readonly explain: (cause: Error | undefined, heard: boolean) => WherryError
  /** Limit for the trees that this host sends over all channels together; undefined: none. */
  readonly bandwidth?: RateLimit | undefined
  /** Memory for frames is taken from here and given back. */
  readonly memory: BufferPool
}

/** A frame with its body as the sender had it. */
export type Message = Pick<Frame, 'type' | 'head' | 'body'>

/** The error for a connection that ended before its work was done. */
export function cut(peer: string, cause?: Error): WherryError {
  const why = cause === undefined ? 'the other side closed it' : cause.message
  const hint = 'What has arrived is kept; the next try goes on from there.'
  return new WherryError('TRANSFER_CUT', `The connection to ${peer} was cut: ${why}.`, { hint, cause })
}

/**
 * Frames over one TLS connection.
 * Reads only while frames are asked for, holds back the sender while the peer is slow, sends pings, and notices a
 * silent peer. The first failure closes the connection, and every pending call rejects with it.
 */
export class Channel implements AsyncDisposable, LineMeter {
  readonly peer: string
  /** Bytes sent so far. */
  wireBytes = 0
  /** Time spent waiting for the line, the limit or the peer. */
  blockedMs = 0
  readonly #socket: TLSSocket
  readonly #memory: BufferPool
  readonly #decoder: FrameDecoder
  readonly #bandwidth: RateLimit | undefined
  readonly #frames: Frame[] = []
  /** The rest of a batch, its next frame last. */
  #bundled: Frame[] = []
  readonly #failed = new AbortController()
  readonly #timer: NodeJS.Timeout
  #unreadBytes = 0
  #reader: PromiseWithResolvers<Frame> | undefined
  #drained: PromiseWithResolvers<void> | undefined
  #heard = false
  #corked = false
  #ticks = 0
  #silentTicks = 0
  /** Set once this side expects nothing but the peer's end. */
  #finishing = false

  constructor(socket: TLSSocket, options: ChannelOptions) {
    this.peer = options.peer
    this.#socket = socket
    this.#memory = options.memory
    this.#decoder = new FrameDecoder(options.accepts, options.memory)
    this.#bandwidth = options.bandwidth
    this.#timer = setInterval(() => this.#tick(), TICK_MS)
    socket.setNoDelay(true)
    // A socket with its own buffer (onread) emits no such events: its creator calls `take`.
    socket.on('data', (chunk: Buffer) => this.take(chunk))
    socket.on('drain', () => {
      this.#drained?.resolve()
      this.#drained = undefined
    })
    socket.on('error', (error) => this.#end(options.explain(error, this.#heard)))
    socket.on('end', () => this.#end(options.explain(undefined, this.#heard)))
    socket.on('close', () => this.#end(options.explain(undefined, this.#heard)))
    socket.pause()
  }

  /** Aborts when the connection has ended, with the reason. */
  get ended(): AbortSignal {
    return this.#failed.signal
  }

  /**
   * Returns the next frame that is not a ping; frames of a batch one by one.
   * Rejects with the reason why the connection ended, after all frames that came before, or with ProtocolViolation.
   */
  async next(): Promise<Message> {
    for (;;) {
      const bundled = this.#bundled.pop()
      if (bundled !== undefined) return bundled
      const message = await this.#next()
      if (message.type !== 'bundle') return message
      this.#bundled = splitBatch(message.body, this.#memory).reverse()
      this.#memory.give(message.body)
    }
  }

  async #next(): Promise<Message> {
    const frame = this.#shift()
    if (frame !== undefined) return this.#open(frame)
    this.ended.throwIfAborted()
    this.#reader = Promise.withResolvers()
    this.#silentTicks = 0
    this.#socket.resume()
    return this.#open(await this.#reader.promise)
  }

  /**
   * Sends one frame; none of its parts may be changed afterwards.
   * A body from the channel's memory is given back to it. `unpackedBytes`: the body is compressed.
   * Waits while too much is unsent, or while the rate limit is used up.
   */
  async send(type: FrameType, body: Buffer = EMPTY, head?: Buffer, unpackedBytes?: number): Promise<void> {
    this.ended.throwIfAborted()
    const prefix = framePrefix(type, body.length, head, unpackedBytes)
    const bytes = prefix.length + body.length
    if (TREE_FRAMES.has(type) && this.#bandwidth !== undefined)
      await this.waitFor(this.#bandwidth.take(bytes, this.ended))
    this.#write(prefix, body)
    this.wireBytes += bytes
    if (!this.#socket.writableNeedDrain || this.#socket.writableLength < UNSENT_MAX_BYTES) return
    this.#drained ??= Promise.withResolvers()
    await this.waitFor(this.#drained.promise)
  }

  /** Waits for something that needs the peer to receive first. The time counts as waiting for the line. */
  async waitFor<T>(line: Promise<T>): Promise<T> {
    const startedMs = performance.now()
    try {
      return await line
    } finally {
      this.blockedMs += performance.now() - startedMs
    }
  }

  /**
   * Ends the sending side and waits until the peer has closed or gone silent.
   * The peer may be slow: closing before it has read everything would discard what is still on the way.
   */
  async finish(): Promise<void> {
    if (this.ended.aborted) return
    this.#finishing = true
    this.#drop()
    this.#silentTicks = 0
    this.#socket.end()
    this.#socket.resume()
    await new Promise((resolve) => this.ended.addEventListener('abort', resolve, { once: true }))
  }

  /** Closes the connection now; every pending call rejects with `error`. Only the first call counts. */
  fail(error: unknown): void {
    this.#drop()
    this.#end(error instanceof ProtocolViolation ? broken(this.peer, error) : error)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.fail(cut(this.peer, new Error('it was closed on this side')))
  }

  #end(reason: unknown): void {
    clearInterval(this.#timer)
    this.#socket.destroy()
    if (this.ended.aborted) return
    this.#failed.abort(reason)
    this.#reader?.reject(reason)
    this.#drained?.reject(reason)
  }

  /** Takes in bytes of the peer; keeps no reference to them. Never throws. */
  take(chunk: Buffer): void {
    this.#silentTicks = 0
    if (this.#finishing || this.ended.aborted) return
    try {
      for (const frame of this.#decoder.push(chunk)) this.#keep(frame)
    } catch (error) {
      this.fail(error)
      return
    }
    // A slow reader receives no more: TCP holds the peer back.
    if (this.#unreadBytes >= UNREAD_MAX_BYTES || this.#frames.length >= UNREAD_MAX_FRAMES) this.#socket.pause()
  }

  #keep(frame: Frame): void {
    this.#heard = true
    if (frame.type === 'ping') return
    const reader = this.#reader
    this.#reader = undefined
    reader?.resolve(frame)
    if (reader !== undefined) return
    this.#frames.push(frame)
    this.#unreadBytes += frame.body.length
  }

  #shift(): Frame | undefined {
    const frame = this.#frames.shift()
    if (frame === undefined) return undefined
    this.#unreadBytes -= frame.body.length
    if (this.#unreadBytes < UNREAD_MAX_BYTES && this.#socket.isPaused() && !this.ended.aborted) this.#socket.resume()
    return frame
  }

  /** Decompresses only when asked: compressed frames are small while they wait. */
  #open(frame: Frame): Message {
    if (frame.unpackedBytes === undefined) return frame
    const body = unpack(frame.body, frame.unpackedBytes)
    this.#memory.give(frame.body)
    return { type: frame.type, head: frame.head, body }
  }

  #drop(): void {
    this.#frames.length = 0
    this.#bundled = []
    this.#unreadBytes = 0
  }

  #write(prefix: Buffer, body: Buffer): void {
    if (body.length > JOIN_MAX_BYTES) {
      this.#uncork()
      this.#socket.write(prefix)
      this.#socket.write(body, () => this.#memory.give(body))
      return
    }
    this.#cork()
    this.#socket.write(prefix)
    if (body.length > 0) this.#socket.write(body)
  }

  /** Holds back writes until the end of this turn of the event loop. */
  #cork(): void {
    if (this.#corked) return
    this.#corked = true
    this.#socket.cork()
    setImmediate(() => this.#uncork())
  }

  #uncork(): void {
    if (!this.#corked) return
    this.#corked = false
    this.#socket.uncork()
  }

  #tick(): void {
    this.#ticks += 1
    // While bytes of this side are on the way, a ping adds nothing and only piles up.
    if (this.#ticks % PING_TICKS === 0 && this.#socket.writable && this.#socket.writableLength === 0) {
      this.#socket.write(framePrefix('ping', 0))
    }
    if (this.#reader === undefined && !this.#finishing) return
    this.#silentTicks += 1
    if (this.#silentTicks < SILENCE_TICKS) return
    this.fail(cut(this.peer, new Error(`no byte came for ${(SILENCE_TICKS * TICK_MS) / 1_000} s`)))
  }
}

const EMPTY = Buffer.alloc(0)

function broken(peer: string, cause: ProtocolViolation): WherryError {
  return new WherryError('TRANSFER_CUT', `${peer} broke the transfer protocol: ${cause.message}.`, {
    hint: 'Check that all hosts run the same version of Wherry.',
    cause,
  })
}
