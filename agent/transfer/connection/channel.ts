import type { TLSSocket } from 'node:tls'
import { WherryError } from '../../model/errors.ts'
import type { BufferPool } from '../../runtime/buffer-pool.ts'
import { type LineMeter, unpack } from '../wire/compression.ts'
import { type Frame, FrameDecoder, type FrameType, framePrefix, ProtocolViolation, TREE_FRAMES } from '../wire/frame.ts'
import { splitBatch } from '../wire/frame-batch.ts'
import type { RateLimit } from './rate-limit.ts'

/** The clock of a channel: pings and silence are counted in these. */
const TICK_MS = 1_000
/** A busy peer pings that often, so that a lost one or two do not matter. */
const PING_TICKS = 2
/**
 * A peer that sent no byte for that long while we waited for one is gone. Ticks and not a clock: after this process was
 * stopped for a while (a suspended host, a long pause) only one tick passes before what arrived meanwhile is read.
 */
const SILENCE_TICKS = 10
/** `send` waits once that much is not yet with the kernel: what comes next is being prepared meanwhile. */
const UNSENT_MAX_BYTES = 1024 * 1024
/** Frames taken in and not yet asked for may have that many bytes: writing one overlaps with taking in the next. */
const UNREAD_MAX_BYTES = 2 * 1024 * 1024
/** Frames without a body count, too. */
const UNREAD_MAX_FRAMES = 4_096
/** Frames with bodies up to this that are sent within one turn of the event loop are copied into one write; larger bodies are written as they are. */
const JOIN_MAX_BYTES = 64 * 1024

export interface ChannelOptions {
  /** Who is at the other end, for messages. */
  readonly peer: string
  /** The only frames taken from the peer. */
  readonly accepts: ReadonlySet<FrameType>
  /** Makes the error for a connection that ended by itself. `heard`: at least one frame came from the peer. */
  readonly explain: (cause: Error | undefined, heard: boolean) => WherryError
  /** What this host may send of trees, all channels together; undefined: no limit. */
  readonly bandwidth?: RateLimit | undefined
  /** Where memory for frames comes from and goes to. */
  readonly memory: BufferPool
}

/** A frame with its body as it was before it was sent. */
export type Message = Pick<Frame, 'type' | 'head' | 'body'>

/** Says that a connection ended before its work was done. */
export function cut(peer: string, cause?: Error): WherryError {
  const why = cause === undefined ? 'the other side closed it' : cause.message
  const hint = 'What has arrived is kept; the next try goes on from there.'
  return new WherryError('TRANSFER_CUT', `The connection to ${peer} was cut: ${why}.`, { hint, cause })
}

/**
 * Frames over one TLS connection. Reads only while frames are asked for, holds back the sender while the peer is slow,
 * pings by itself, notices a silent peer. The first failure closes the connection and is what everything rejects with.
 */
export class Channel implements AsyncDisposable, LineMeter {
  readonly peer: string
  /** Bytes sent so far. */
  wireBytes = 0
  /** How long the line, the limit or the peer has been waited for. */
  blockedMs = 0
  readonly #socket: TLSSocket
  readonly #memory: BufferPool
  readonly #decoder: FrameDecoder
  readonly #bandwidth: RateLimit | undefined
  readonly #frames: Frame[] = []
  /** What is left of a bundle, the next one last. */
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
  /** Set once nothing more is wanted from the peer but its end. */
  #finishing = false

  constructor(socket: TLSSocket, options: ChannelOptions) {
    this.peer = options.peer
    this.#socket = socket
    this.#memory = options.memory
    this.#decoder = new FrameDecoder(options.accepts, options.memory)
    this.#bandwidth = options.bandwidth
    this.#timer = setInterval(() => this.#tick(), TICK_MS)
    socket.setNoDelay(true)
    // A socket with a buffer of its own (onread) has no such events: whoever made it calls `take`.
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

  /** The next frame that is not a ping, those of a bundle one by one. Rejects with what ended the connection, after the frames that came before that, or ProtocolViolation. */
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
   * Sends one frame (no part to be changed afterwards; a body from the channel's memory is given back). Waits while too much is unsent or more than the bandwidth limit
   * allows. `unpackedBytes`: the body is packed.
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

  /** Waits for something that only comes when the peer has got what was sent; the time counts as waiting for the line. */
  async waitFor<T>(line: Promise<T>): Promise<T> {
    const startedMs = performance.now()
    try {
      return await line
    } finally {
      this.blockedMs += performance.now() - startedMs
    }
  }

  /**
   * Ends the sending side and waits until the peer has closed or gone silent: it may be slow with what is still on the
   * way, and closing before it has read that would take it away.
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

  /** Closes the connection now; everything that waits rejects with `error`. Only the first call counts. */
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

  /** Takes bytes of the peer in and keeps none of them. Never throws. */
  take(chunk: Buffer): void {
    this.#silentTicks = 0
    if (this.#finishing || this.ended.aborted) return
    try {
      for (const frame of this.#decoder.push(chunk)) this.#keep(frame)
    } catch (error) {
      this.fail(error)
      return
    }
    // Whoever is slow with what is here does not get more: TCP holds the peer back.
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

  /** Not before it is asked for: packed frames are few bytes while they wait. */
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

  /** What is written from here on waits for the end of this turn. */
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
    // With bytes of ours still on the way a ping says nothing new and only piles up.
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
