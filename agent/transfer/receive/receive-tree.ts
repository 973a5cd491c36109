import { WherryError } from '../../model/errors.ts'
import type { TreeWriter } from '../../store/tree-contract.ts'
import type { Channel } from '../connection/channel.ts'
import type { PullResult, TreeRequest } from '../contract.ts'
import { ProtocolViolation } from '../wire/frame.ts'
import { decodeJson, encodeRequest, treeSchema } from '../wire/message.ts'
import type { ProtocolRange } from '../wire/protocol.ts'
import { RequestSender } from './request-sender.ts'
import { expectMessage, greet, nextMessage, outOfOrder, ResponseReader } from './response-reader.ts'

/** Sends the request and returns the hash of the tree that will come. */
async function ask(channel: Channel, request: TreeRequest, spoken?: ProtocolRange): Promise<string> {
  const version = await greet(channel, spoken)
  await channel.send('request', encodeRequest(request, version))
  const { hash } = decodeJson(treeSchema, (await expectMessage(channel, 'tree')).body)
  if (request.want.kind === 'live' || hash === request.want.hash) return hash
  const message =
    `${channel.peer} offers checkpoint ${hash} of volume ${request.volume}, ` + `requested was ${request.want.hash}.`
  throw new WherryError('HASH_MISMATCH', message, { hint: 'Ask a host whose copy is current.' })
}

/** Not limited in length here: the writer refuses what is longer than a manifest may be. */
async function* manifestChunks(channel: Channel): AsyncGenerator<Buffer, void, void> {
  while (true) {
    const message = await nextMessage(channel)
    if (message.type === 'manifestEnd') return
    if (message.type !== 'manifest') throw outOfOrder(message, 'manifest')
    yield message.body
  }
}

/** Requests and receives at the same time; returns the bytes of file content that came. */
async function receiveResponses(channel: Channel, writer: TreeWriter): Promise<number> {
  const sender = new RequestSender(channel, writer)
  const reader = new ResponseReader(channel, writer, sender)
  const sent = sender.run()
  sent.catch((error) => {
    // The writer has given up this source: the reader must stop before the caller learns of it.
    channel.fail(error)
    sender.stop()
  })
  try {
    await reader.run()
  } finally {
    // Not awaited: after a failure the writer may have nothing to request until it is closed.
    sender.stop()
  }
  await sent
  return reader.bytes
}

/**
 * Requests one tree over `channel` and writes it into `writer`.
 * Rejects with the source's coded error, the writer's error, or TRANSFER_CUT.
 * May be repeated on a new channel: the writer knows what it still needs.
 * After it settles, at most one call of the writer's `next` is still running.
 */
export async function receiveTree(
  channel: Channel,
  request: TreeRequest,
  writer: TreeWriter,
  spoken?: ProtocolRange,
): Promise<PullResult> {
  try {
    const hash = await ask(channel, request, spoken)
    await writer.begin(manifestChunks(channel))
    const bytes = await receiveResponses(channel, writer)
    return { hash, bytes, complete: await writer.finish() }
  } catch (error) {
    if (!(error instanceof ProtocolViolation)) throw error
    channel.fail(error)
    throw channel.ended.reason
  }
}
