import type { TLSSocket } from 'node:tls'
import { WherryError } from '../errors.ts'
import { type Frame, FrameDecoder, type FrameType, frameHeader, ProtocolViolation } from './frame.ts'

/** The clock of a channel: pings and silence are counted in these. */
const TICK_MS = 1_000
/** A busy peer pings that often, so that a lost one or two do not matter. */
const PING_TICKS = 2
/**
 * A peer that sent no byte for that long while we waited for one is gone. Ticks and not a clock: after this process was
 * stopped for a while (a suspended host, a long pause) only one tick passes before what arrived meanwhile is read.
 */
const SILENCE_TICKS = 10
/** `send` waits once that much is not yet with the kernel: two data frames, so that reading the next overlaps sending. */
const UNSENT_MAX_BYTES = 1024 * 1024
/** Below that a header and its payload are copied into one write; above, two writes are cheaper. */
const JOIN_MAX_BYTES = 64 * 1024

export interface ChannelOptions {
  /** Who is at the other end, for messages. */
  readonly peer: string
  /** The only frames taken from the peer. */
  readonly accepts: ReadonlySet<FrameType>
  /** Makes the error for a connection that ended by itself. `heard`: at least one frame came from the peer. */
  readonly explain: (cause: Error | undefined, heard: boolean) => WherryError
}

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
export class Channel implements AsyncDisposable {
  readonly peer: string
  readonly #socket: TLSSocket
  readonly #decoder: FrameDecoder
  readonly #frames: Frame[] = []
  readonly #failed = new AbortController()
  readonly #timer: NodeJS.Timeout
  #reader: PromiseWithResolvers<Frame> | undefined
  #drained: PromiseWithResolvers<void> | undefined
  #heard = false
  #ticks = 0
  #silentTicks = 0
  /** Set once nothing more is wanted from the peer but its end. */
  #finishing = false

  constructor(socket: TLSSocket, options: ChannelOptions) {
    this.peer = options.peer
    this.#socket = socket
    this.#decoder = new FrameDecoder(options.accepts)
    this.#timer = setInterval(() => this.#tick(), TICK_MS)
    socket.setNoDelay(true)
    socket.on('data', (chunk: Buffer) => this.#take(chunk))
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

  /** The next frame that is not a ping. Rejects with what ended the connection, after the frames that came before that. */
  next(): Promise<Frame> {
    const frame = this.#frames.shift()
    if (frame !== undefined) return Promise.resolve(frame)
    if (this.ended.aborted) return Promise.reject(this.ended.reason)
    this.#reader = Promise.withResolvers()
    this.#silentTicks = 0
    this.#socket.resume()
    return this.#reader.promise
  }

  /** Sends one frame, its payload in one or two parts (not to be changed afterwards). Waits while too much is unsent. */
  async send(type: FrameType, head: Buffer = EMPTY, body: Buffer = EMPTY): Promise<void> {
    this.ended.throwIfAborted()
    const header = frameHeader(type, head.length + body.length)
    if (body.length > JOIN_MAX_BYTES) {
      this.#socket.write(Buffer.concat([header, head]))
      this.#socket.write(body)
    } else {
      this.#socket.write(Buffer.concat([header, head, body]))
    }
    if (!this.#socket.writableNeedDrain || this.#socket.writableLength < UNSENT_MAX_BYTES) return
    this.#drained ??= Promise.withResolvers()
    await this.#drained.promise
  }

  /**
   * Ends the sending side and waits until the peer has closed or gone silent: it may be slow with what is still on the
   * way, and closing before it has read that would take it away.
   */
  async finish(): Promise<void> {
    if (this.ended.aborted) return
    this.#finishing = true
    this.#frames.length = 0
    this.#silentTicks = 0
    this.#socket.end()
    this.#socket.resume()
    await new Promise((resolve) => this.ended.addEventListener('abort', resolve, { once: true }))
  }

  /** Closes the connection now; everything that waits rejects with `error`. Only the first call counts. */
  fail(error: unknown): void {
    this.#frames.length = 0
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

  #take(chunk: Buffer): void {
    this.#silentTicks = 0
    if (this.#finishing || this.ended.aborted) return
    try {
      const frames = this.#decoder.push(chunk)
      if (frames.length === 0) return
      this.#heard = true
      for (const frame of frames) if (frame.type !== 'ping') this.#frames.push(frame)
    } catch (error) {
      this.fail(error)
      return
    }
    this.#hand()
  }

  #hand(): void {
    const reader = this.#reader
    const frame = reader === undefined ? undefined : this.#frames.shift()
    if (reader !== undefined && frame !== undefined) {
      this.#reader = undefined
      reader.resolve(frame)
    }
    // Whoever is slow with what is here does not get more: TCP holds the peer back.
    if (this.#frames.length > 0) this.#socket.pause()
  }

  #tick(): void {
    this.#ticks += 1
    // With bytes of ours still on the way a ping says nothing new and only piles up.
    if (this.#ticks % PING_TICKS === 0 && this.#socket.writable && this.#socket.writableLength === 0) {
      this.#socket.write(frameHeader('ping', 0))
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
