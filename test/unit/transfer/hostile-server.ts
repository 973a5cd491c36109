import type { AddressInfo } from 'node:net'
import { createServer, type TLSSocket } from 'node:tls'
import type { Identity } from '../../../agent/host/certificates.ts'
import { BufferPool } from '../../../agent/runtime/buffer-pool.ts'
import type { TreeReader } from '../../../agent/store/tree-contract.ts'
import { manifestFrames, responseFrames } from '../../../agent/transfer/send/response-frames.ts'
import { Compressor } from '../../../agent/transfer/wire/compression.ts'
import {
  type Frame,
  FrameDecoder,
  type FrameType,
  framePrefix,
  REQUESTER_FRAMES,
} from '../../../agent/transfer/wire/frame.ts'
import { splitBatch } from '../../../agent/transfer/wire/frame-batch.ts'
import { encodeJson } from '../../../agent/transfer/wire/message.ts'
import { helloOf, PROTOCOL } from '../../../agent/transfer/wire/protocol.ts'
import { decodeRequests } from '../../../agent/transfer/wire/request-codec.ts'
import { HOST } from './kit.ts'

/** A frame as a decent source would send it now. */
export interface Said {
  readonly type: FrameType
  readonly head: Buffer
  readonly body: Buffer
}

/** What is said in the place of the nth frame; null ends the connection. */
export type Twist = (frame: Said, nth: number) => readonly Buffer[] | null

export interface Act {
  readonly reader: TreeReader
  readonly twist: Twist
  /** Called when the asker has told what it wants, before anything is answered. */
  readonly asked: () => void
  /**
   * From the first lie to the end of the connection: both sides may wait for each other after it, and the protocol's
   * own limit is long. Undefined: it does not end before the protocol says so.
   */
  readonly patienceMs?: number
}

export function bytesOf({ type, head, body }: Said): Buffer {
  return Buffer.concat([framePrefix(type, body.length, head), body])
}

function isHonest(said: readonly Buffer[], frame: Said): boolean {
  const [only] = said
  return said.length === 1 && only?.equals(bytesOf(frame)) === true
}

/** A source with a good certificate that knows the protocol, and keeps to it as far as its act says. */
export async function hostileServer(identity: Identity) {
  let act: Act | undefined
  const server = createServer({ ...identity.current(), requestCert: true }, (socket) => {
    socket.on('error', () => {})
    if (act !== undefined) new Conversation(socket, act)
  })
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve))
  return {
    from: { address: HOST, port: (server.address() as AddressInfo).port },
    play(next: Act) {
      act = next
    },
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())),
  }
}

class Conversation {
  readonly #socket: TLSSocket
  readonly #act: Act
  readonly #packer = new Compressor({ wireBytes: 0, blockedMs: 0 })
  /** One after the other. */
  #work: Promise<void> = Promise.resolve()
  #nth = 0

  constructor(socket: TLSSocket, act: Act) {
    this.#socket = socket
    this.#act = act
    const decoder = new FrameDecoder(REQUESTER_FRAMES, new BufferPool())
    this.#say('hello', encodeJson(helloOf(PROTOCOL)))
    socket.on('data', (chunk: Buffer) => {
      for (const frame of decoder.push(chunk)) {
        this.#work = this.#work.then(() => this.#answer(frame)).catch(() => void socket.destroy())
      }
    })
  }

  async #answer({ type, body }: Frame): Promise<void> {
    const { reader, asked } = this.#act
    if (type === 'request') {
      this.#say('tree', encodeJson({ hash: reader.hash }))
      for await (const frame of manifestFrames(reader, this.#packer)) this.#say(frame.type, frame.body)
    } else if (type === 'blockRequests') {
      asked()
      for (const want of decodeRequests(body)) {
        for await (const frame of responseFrames(reader, [want], this.#packer)) {
          // One by one, so that each can be twisted.
          const loose = frame.type === 'bundle' ? splitBatch(frame.body ?? Buffer.alloc(0), new BufferPool()) : [frame]
          for (const { type, body, head } of loose) this.#say(type, body, head)
        }
      }
    } else if (type === 'blockRequestsEnd') {
      this.#say('end')
      this.#socket.end()
    }
  }

  #say(type: FrameType, body: Buffer = Buffer.alloc(0), head: Buffer = Buffer.alloc(0)): void {
    this.#nth += 1
    const { twist, patienceMs } = this.#act
    const frame = { type, head, body }
    const said = twist(frame, this.#nth)
    if (said === null) {
      this.#socket.end()
      return
    }
    if (this.#socket.writable) for (const bytes of said) this.#socket.write(bytes)
    if (patienceMs !== undefined && !isHonest(said, frame)) setTimeout(() => this.#socket.end(), patienceMs).unref()
  }
}
