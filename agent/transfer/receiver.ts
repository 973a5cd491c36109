import { WherryError } from '../errors.ts'
import type { Channel } from './channel.ts'
import type { Need, PullResult, TreeRequest, TreeWriter } from './contract.ts'
import { type Frame, type FrameType, NEEDS_PER_FRAME, POSITION_BYTES, ProtocolViolation } from './frame.ts'
import {
  decodeError,
  decodeJson,
  decodePosition,
  encodeNeeds,
  encodeRequest,
  helloMessage,
  PROTOCOL_VERSION,
  treeMessage,
  wrongVersion,
} from './message.ts'
import { NEEDS_OUTSTANDING_MAX } from './source.ts'

/** What a source may make an asker take in before any file; 150 bytes for each of 50 million files are 7.5 GB. */
const MANIFEST_MAX_BYTES = 8 * 1024 ** 3

/** The next frame of the source; throws the error it reports. */
async function nextFrame(channel: Channel): Promise<Frame> {
  const frame = await channel.next()
  if (frame.type === 'error') throw decodeError(frame.payload, channel.peer)
  return frame
}

async function expect(channel: Channel, type: FrameType): Promise<Buffer> {
  const frame = await nextFrame(channel)
  if (frame.type !== type) throw outOfOrder(frame, type)
  return frame.payload
}

function outOfOrder(frame: Frame, expected: string): ProtocolViolation {
  return new ProtocolViolation(`a ${frame.type} frame where ${expected} should come`)
}

/** Says what is wanted, answers the hash of the tree that will come. */
async function ask(channel: Channel, request: TreeRequest): Promise<string> {
  await channel.send('request', encodeRequest(request))
  const { version } = decodeJson(helloMessage, await expect(channel, 'hello'))
  if (version !== PROTOCOL_VERSION) throw wrongVersion(version)
  const { hash } = decodeJson(treeMessage, await expect(channel, 'tree'))
  if (request.want.kind === 'live' || hash === request.want.hash) return hash
  const message = `${channel.peer} offers checkpoint ${hash} of volume ${request.volume}, asked was ${request.want.hash}.`
  throw new WherryError('HASH_MISMATCH', message, { hint: 'Ask a host whose copy is current.' })
}

async function* manifestChunks(channel: Channel): AsyncGenerator<Buffer, void, void> {
  let bytes = 0
  while (true) {
    const frame = await nextFrame(channel)
    if (frame.type === 'manifestEnd') return
    if (frame.type !== 'manifest') throw outOfOrder(frame, 'manifest')
    bytes += frame.payload.length
    if (bytes > MANIFEST_MAX_BYTES) throw new ProtocolViolation(`a manifest of more than ${MANIFEST_MAX_BYTES} bytes`)
    yield frame.payload
  }
}

/** Takes the needed files in, in the order they were asked for, while it keeps the source supplied with needs. */
class Reception {
  readonly #channel: Channel
  readonly #writer: TreeWriter
  readonly #needs: readonly Need[]
  #told = 0
  #done = 0
  /** The next data of the current file starts here or later. */
  #position = 0
  bytes = 0
  complete = true

  constructor(channel: Channel, writer: TreeWriter, needs: readonly Need[]) {
    this.#channel = channel
    this.#writer = writer
    this.#needs = needs
  }

  async run(): Promise<void> {
    await this.#tell()
    if (this.#needs.length === 0) await this.#channel.send('needsEnd')
    this.#position = this.#needs[0]?.offset ?? 0
    for (let need = this.#needs[0]; need !== undefined; need = this.#needs[this.#done]) {
      const frame = await nextFrame(this.#channel)
      if (frame.type === 'data') await this.#take(need, frame.payload)
      else if (frame.type === 'fileEnd') await this.#endFile(need, frame.payload)
      else throw outOfOrder(frame, 'file content')
    }
    await expect(this.#channel, 'end')
  }

  /** Tells needs as long as a whole batch fits into what may be outstanding; no round trip per file, no flood either. */
  async #tell(): Promise<void> {
    while (this.#told < this.#needs.length && this.#told - this.#done + NEEDS_PER_FRAME <= NEEDS_OUTSTANDING_MAX) {
      const batch = this.#needs.slice(this.#told, this.#told + NEEDS_PER_FRAME)
      await this.#channel.send('needs', encodeNeeds(batch))
      this.#told += batch.length
      if (this.#told === this.#needs.length) await this.#channel.send('needsEnd')
    }
  }

  async #take(need: Need, payload: Buffer): Promise<void> {
    const { index, offset } = decodePosition(payload)
    const data = payload.subarray(POSITION_BYTES)
    if (index !== need.index) throw new ProtocolViolation(`data of file ${index} where file ${need.index} should come`)
    if (offset < this.#position)
      throw new ProtocolViolation(`data at ${offset}, expected at ${this.#position} or later`)
    this.#position = offset + data.length
    await this.#writer.write(index, offset, data)
    this.bytes += data.length
  }

  async #endFile(need: Need, payload: Buffer): Promise<void> {
    const index = payload.readUInt32BE(0)
    if (index !== need.index)
      throw new ProtocolViolation(`the end of file ${index} where file ${need.index} should come`)
    if (!(await this.#writer.endFile(index))) this.complete = false
    this.#done += 1
    this.#position = this.#needs[this.#done]?.offset ?? 0
    await this.#tell()
  }
}

/**
 * Asks for one tree over `channel` and brings it into `writer`. Rejects with the source's coded error, the writer's, or
 * TRANSFER_CUT. May be repeated on a new channel: the writer knows what it still needs.
 */
export async function receiveTree(channel: Channel, request: TreeRequest, writer: TreeWriter): Promise<PullResult> {
  try {
    const hash = await ask(channel, request)
    const needs = await writer.begin(manifestChunks(channel))
    const reception = new Reception(channel, writer, needs)
    await reception.run()
    return { hash, bytes: reception.bytes, complete: reception.complete }
  } catch (error) {
    if (!(error instanceof ProtocolViolation)) throw error
    channel.fail(error)
    throw channel.ended.reason
  }
}
