import type { Logger } from 'pino'
import { codeOf } from '../errors.ts'
import type { Channel } from './channel.ts'
import type { Need, TreeReader, TreeRequest, TreeSource } from './contract.ts'
import { DATA_MAX_BYTES, MANIFEST_CHUNK_MAX_BYTES, ProtocolViolation } from './frame.ts'
import {
  decodeNeeds,
  decodeRequest,
  encodeError,
  encodeIndex,
  encodeJson,
  encodePosition,
  PROTOCOL_VERSION,
} from './message.ts'

/**
 * Needs an asker may have told and not yet got. Enough small files to keep a long fat line busy (8192 of 4 KiB are
 * 32 MiB), and a bound on what an asker can make a source remember.
 */
export const NEEDS_OUTSTANDING_MAX = 8_192
/** The asker knows what it wants before it dials: the request comes with the first bytes. */
const REQUEST_TIMEOUT_MS = 10_000

/** The needs an asker has told and not yet got, in order. */
class NeedQueue {
  readonly #needs: Need[] = []
  #complete = false
  #wake: PromiseWithResolvers<void> | undefined

  add(needs: readonly Need[]): void {
    if (this.#complete) throw new ProtocolViolation('needs after the end of needs')
    if (this.#needs.length + needs.length > NEEDS_OUTSTANDING_MAX) {
      throw new ProtocolViolation(`more than ${NEEDS_OUTSTANDING_MAX} needs at once`)
    }
    this.#needs.push(...needs)
    this.#wake?.resolve()
  }

  complete(): void {
    if (this.#complete) throw new ProtocolViolation('a second end of needs')
    this.#complete = true
    this.#wake?.resolve()
  }

  /** The next need; undefined when there are no more. */
  async next(ended: AbortSignal): Promise<Need | undefined> {
    while (this.#needs.length === 0 && !this.#complete) {
      ended.throwIfAborted()
      const wake = Promise.withResolvers<void>()
      this.#wake = wake
      const abort = () => wake.reject(ended.reason)
      ended.addEventListener('abort', abort, { once: true })
      await wake.promise.finally(() => ended.removeEventListener('abort', abort))
    }
    return this.#needs.shift()
  }
}

/** Reads what the asker says until the connection ends; runs all the time, so that a dead asker is always noticed. */
async function listen(channel: Channel, needs: NeedQueue): Promise<void> {
  try {
    while (!channel.ended.aborted) {
      const frame = await channel.next()
      if (frame.type === 'needs') needs.add(decodeNeeds(frame.payload))
      else if (frame.type === 'needsEnd') needs.complete()
      else throw new ProtocolViolation(`a ${frame.type} frame in the middle of a copy`)
    }
  } catch (error) {
    // Whoever sends meanwhile meets the same error through the channel.
    channel.fail(error)
  }
}

async function receiveRequest(channel: Channel): Promise<TreeRequest> {
  const late = () => channel.fail(new ProtocolViolation('no request came'))
  const timer = setTimeout(late, REQUEST_TIMEOUT_MS)
  try {
    const { type, payload } = await channel.next()
    if (type !== 'request') throw new ProtocolViolation(`a ${type} frame before the request`)
    return decodeRequest(payload)
  } finally {
    clearTimeout(timer)
  }
}

function* pieces(data: Buffer, maxBytes: number): Generator<Buffer> {
  for (let at = 0; at < data.length; at += maxBytes) yield data.subarray(at, at + maxBytes)
}

async function sendManifest(channel: Channel, reader: TreeReader): Promise<void> {
  await channel.send('tree', encodeJson({ hash: reader.hash }))
  for await (const chunk of reader.manifest()) {
    for (const piece of pieces(chunk, MANIFEST_CHUNK_MAX_BYTES)) await channel.send('manifest', piece)
  }
  await channel.send('manifestEnd')
}

async function sendData(channel: Channel, reader: TreeReader, need: Need): Promise<void> {
  for await (const { offset, data } of reader.read(need.index, need.offset)) {
    let at = offset
    for (const piece of pieces(data, DATA_MAX_BYTES)) {
      await channel.send('data', encodePosition(need.index, at), piece)
      at += piece.length
    }
  }
}

/** Sends one file. One that changed meanwhile just ends: the asker finds that its hash is wrong and goes on with the rest. */
async function sendFile(channel: Channel, reader: TreeReader, need: Need, log: Logger): Promise<void> {
  try {
    await sendData(channel, reader, need)
  } catch (error) {
    if (codeOf(error) !== 'TREE_CHANGED') throw error
    log.debug({ err: error, index: need.index }, 'a file changed while it was sent')
  }
  await channel.send('fileEnd', encodeIndex(need.index))
}

async function sendTree(channel: Channel, reader: TreeReader, needs: NeedQueue, log: Logger): Promise<void> {
  await sendManifest(channel, reader)
  while (true) {
    const need = await needs.next(channel.ended)
    if (need === undefined) break
    await sendFile(channel, reader, need, log)
  }
  await channel.send('end')
}

async function answer(channel: Channel, source: TreeSource, peer: { name: string }, log: Logger): Promise<void> {
  const request = await receiveRequest(channel)
  const needs = new NeedQueue()
  void listen(channel, needs)
  await using reader = await source(request, peer, channel.ended)
  await sendTree(channel, reader, needs, log)
  log.debug({ volume: request.volume, want: request.want.kind, hash: reader.hash }, 'sent a tree')
}

/**
 * Answers one asker's request over `channel` and closes it. Errors end here: logged, and told to the asker as far as
 * they concern it (coded errors as they are, others as INTERNAL). An asker that breaks the protocol is cut without a word.
 */
export async function serveChannel(
  channel: Channel,
  source: TreeSource,
  peer: { name: string },
  log: Logger,
): Promise<void> {
  await using _closed = channel
  try {
    await channel.send('hello', encodeJson({ version: PROTOCOL_VERSION }))
    await answer(channel, source, peer, log)
    await channel.finish()
  } catch (err) {
    if (err instanceof ProtocolViolation) channel.fail(err)
    const reason = channel.ended.aborted ? channel.ended.reason : err
    // An asker may go at any time: it was sent ahead enough, or found what it wanted elsewhere.
    const level = codeOf(reason) === 'TRANSFER_CUT' ? 'info' : 'warn'
    log[level]({ err: reason, asker: channel.peer }, 'a copy to another host ended early')
    await refuse(channel, err)
  }
}

/** Tells the asker why it gets nothing more, if it is still there. */
async function refuse(channel: Channel, error: unknown): Promise<void> {
  try {
    await channel.send('error', encodeError(error))
    await channel.finish()
  } catch {
    // The asker has gone; what went wrong is in the log already.
  }
}
