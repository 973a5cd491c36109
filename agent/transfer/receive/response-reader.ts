import type { BlockRequest, BlockRun, TreeWriter } from '../../store/tree-contract.ts'
import type { Channel, Message } from '../connection/channel.ts'
import { type FrameType, ProtocolViolation } from '../wire/frame.ts'
import { decodeError, decodeJson } from '../wire/message.ts'
import { chooseProtocol, helloSchema, type ProtocolRange } from '../wire/protocol.ts'
import { decodeChanged, decodeFlag, decodeOffset } from '../wire/request-codec.ts'
import type { RequestSender } from './request-sender.ts'

/** Returns the next frame of the source. Throws the error that it reports. */
export async function nextMessage(channel: Channel): Promise<Message> {
  const message = await channel.next()
  if (message.type === 'error') throw decodeError(message.body, channel.peer)
  return message
}

/**
 * Returns the next frame, which must have this type. Throws ProtocolViolation, or the error that the source reports.
 */
export async function expectMessage(channel: Channel, type: FrameType): Promise<Message> {
  const message = await nextMessage(channel)
  if (message.type !== type) throw outOfOrder(message, type)
  return message
}

/**
 * Reads the source's first frame, and returns the version of the protocol to go on with.
 * VERSION_SKEW: both sides speak none in common. `spoken`: what this side speaks, if not what ships.
 */
export async function greet(channel: Channel, spoken?: ProtocolRange): Promise<number> {
  const theirs = decodeJson(helloSchema, (await expectMessage(channel, 'hello')).body)
  return chooseProtocol(theirs, channel.peer, spoken)
}

export function outOfOrder({ type }: Message, expected: string): ProtocolViolation {
  return new ProtocolViolation(`a ${type} frame where ${expected} should come`)
}

/** Reads the responses in the order of the requests, and checks the length of each. */
export class ResponseReader {
  readonly #channel: Channel
  readonly #writer: TreeWriter
  readonly #sender: RequestSender
  /** Bytes of file content that came. */
  bytes = 0

  constructor(channel: Channel, writer: TreeWriter, sender: RequestSender) {
    this.#channel = channel
    this.#writer = writer
    this.#sender = sender
  }

  /** Returns after the source has sent its end. */
  async run(): Promise<void> {
    for (let request = await this.#sender.oldest(); request !== undefined; request = await this.#sender.oldest()) {
      await this.#take(request)
      this.#sender.answered()
    }
    await expectMessage(this.#channel, 'end')
  }

  #take(request: BlockRequest): Promise<void> {
    if (request.kind === 'files') return this.#takeFiles(request.indexes, request.bytes)
    return request.kind === 'hashes'
      ? this.#takeHashes(request.index, request.bytes)
      : this.#takeRun(request.run, request.bytes)
  }

  async #takeFiles(indexes: readonly number[], bytes: number): Promise<void> {
    let message = await nextMessage(this.#channel)
    let changed: number[] = []
    if (message.type === 'changed') {
      changed = decodeChanged(message.body, indexes.length)
      message = await nextMessage(this.#channel)
    }
    if (message.type !== 'files') throw outOfOrder(message, 'files')
    const { body } = message
    if (body.length !== bytes) throw new ProtocolViolation(`files of ${body.length} bytes, asked were ${bytes}`)
    this.bytes += bytes
    await this.#writer.takeFiles(indexes, body, changed)
  }

  async #takeHashes(index: number, bytes: number): Promise<void> {
    let left = bytes
    for (let end = false; !end; ) {
      const { head, body } = await expectMessage(this.#channel, 'hashes')
      end = decodeFlag(head)
      left -= body.length
      if (left < 0 || (end && left > 0) || (!end && body.length === 0))
        throw new ProtocolViolation(`block hashes of another length than ${bytes} bytes`)
      await this.#writer.takeHashes(index, body, end)
    }
  }

  async #takeRun(run: BlockRun, bytes: number): Promise<void> {
    let left = bytes
    let position = 0
    while (true) {
      const message = await nextMessage(this.#channel)
      if (message.type === 'runEnd') return this.#writer.endBlocks(run, decodeFlag(message.head))
      if (message.type !== 'piece') throw outOfOrder(message, 'a piece')
      const { body } = message
      const offset = decodeOffset(message.head)
      left -= body.length
      if (left < 0) throw new ProtocolViolation(`a run of more than ${bytes} bytes`)
      if (offset < position) throw new ProtocolViolation(`data at ${offset}, expected at ${position} or later`)
      position = offset + body.length
      this.bytes += body.length
      await this.#writer.takePiece(run, { offset, data: body })
    }
  }
}
