import type { Logger } from 'pino'
import { codeOf } from '../../model/errors.ts'
import { type FaultPoint, noFault } from '../../runtime/fault-point.ts'
import type { TreeReader } from '../../store/tree-contract.ts'
import type { Channel } from '../connection/channel.ts'
import type { PeerIdentity, Query, QueryHandler, TreeRequest, TreeSource } from '../contract.ts'
import { Compressor } from '../wire/compression.ts'
import { ProtocolViolation } from '../wire/frame.ts'
import { decodeRequest, encodeError, encodeJson, type Request } from '../wire/message.ts'
import { helloOf, PROTOCOL, type ProtocolRange } from '../wire/protocol.ts'
import { decodeRequests } from '../wire/request-codec.ts'
import { sendReply } from './answer-query.ts'
import { Prefetch } from './prefetch.ts'
import { RequestQueue } from './request-queue.ts'
import { manifestFrames, type Outgoing, responseFrames } from './response-frames.ts'

/** An asking host knows its request before it dials, and sends it once it has read the hello. */
const REQUEST_TIMEOUT_MS = 10_000
/** Responses prepared at once, two frames each: disk, processor and line work at the same time. */
const RESPONSES_AHEAD = 4

/** Reads what the asking host sends until the connection ends. Runs all the time, so a dead host is noticed. */
async function listen(channel: Channel, requests: RequestQueue): Promise<void> {
  try {
    while (!channel.ended.aborted) {
      const frame = await channel.next()
      if (frame.type === 'blockRequests') requests.add(decodeRequests(frame.body))
      else if (frame.type === 'blockRequestsEnd') requests.complete()
      else throw new ProtocolViolation(`a ${frame.type} frame in the middle of a copy`)
    }
  } catch (error) {
    // The sender meets the same error through the channel.
    channel.fail(error)
  }
}

async function receiveRequest(channel: Channel, spoken: ProtocolRange): Promise<Request> {
  const late = () => channel.fail(new ProtocolViolation('no request came'))
  const timer = setTimeout(late, REQUEST_TIMEOUT_MS)
  try {
    const { type, body } = await channel.next()
    if (type !== 'request') throw new ProtocolViolation(`a ${type} frame before the request`)
    return decodeRequest(body, channel.peer, spoken)
  } finally {
    clearTimeout(timer)
  }
}

/** Sends frames; each one that was sent is a fault point named after its type. */
async function sendFrames(channel: Channel, frames: AsyncIterable<Outgoing>, faultPoint: FaultPoint): Promise<void> {
  for await (const { type, body, head, unpackedBytes } of frames) {
    await channel.send(type, body, head, unpackedBytes)
    faultPoint(type)
  }
}

/** Sends the responses in the order of the requests, and prepares the next ones meanwhile. */
async function sendResponses(
  channel: Channel,
  reader: TreeReader,
  requests: RequestQueue,
  packer: Compressor,
  faultPoint: FaultPoint,
): Promise<void> {
  const begun: { readonly answer: Prefetch<Outgoing>; readonly count: number }[] = []
  const begin = () => {
    while (begun.length < RESPONSES_AHEAD) {
      const batch = requests.take()
      if (batch.length === 0) return
      begun.push({ answer: new Prefetch(responseFrames(reader, batch, packer)), count: batch.length })
    }
  }
  try {
    // The kernel may hold more than the asking host has outstanding: then a slow line shows as requests that do
    // not come.
    while (begun.length > 0 || (await channel.waitFor(requests.wait()))) {
      begin()
      const [first] = begun
      if (first === undefined) continue
      await sendFrames(channel, first.answer, faultPoint)
      begun.shift()
      requests.answered(first.count)
    }
  } finally {
    await Promise.all(begun.map(({ answer }) => answer[Symbol.asyncDispose]()))
  }
}

async function sendTree(
  channel: Channel,
  reader: TreeReader,
  requests: RequestQueue,
  faultPoint: FaultPoint,
): Promise<void> {
  const packer = new Compressor(channel)
  await channel.send('tree', encodeJson({ hash: reader.hash }))
  {
    await using manifest = new Prefetch(manifestFrames(reader, packer))
    await sendFrames(channel, manifest, faultPoint)
  }
  await sendResponses(channel, reader, requests, packer, faultPoint)
  await channel.send('end')
  faultPoint('end')
}

async function serveTree(
  channel: Channel,
  request: TreeRequest,
  { source, log, faultPoint = noFault }: Services,
  peer: PeerIdentity,
): Promise<void> {
  const requests = new RequestQueue(channel.ended)
  void listen(channel, requests)
  await using reader = await source(request, peer, channel.ended)
  faultPoint('chosen')
  await sendTree(channel, reader, requests, faultPoint)
  log.debug(
    { volume: request.volume, want: request.want.kind, hash: reader.hash, wireBytes: channel.wireBytes },
    'tree sent',
  )
}

/** Decides on requests and replies, and takes the log. */
export interface Services {
  readonly source: TreeSource
  readonly answer: QueryHandler
  readonly log: Logger
  /** For tests that stop there: called when a request was decided on, and after each frame of a tree. */
  readonly faultPoint?: FaultPoint | undefined
  /** For tests with two versions. */
  readonly spoken?: ProtocolRange | undefined
}

/**
 * Serves one request over `channel` and closes it.
 * Errors end here: they are logged, and sent to the asking host (coded errors as they are, others as INTERNAL).
 * A host that breaks the protocol is cut off without a message.
 */
export async function serveChannel(channel: Channel, services: Services, peer: PeerIdentity): Promise<void> {
  await using _closed = channel
  const { spoken = PROTOCOL } = services
  let request: Request | undefined
  try {
    await channel.send('hello', encodeJson(helloOf(spoken)))
    request = await receiveRequest(channel, spoken)
    if ('question' in request) await sendReply(channel, request.question, services.answer, peer)
    else await serveTree(channel, request.tree, services, peer)
    await channel.finish()
  } catch (err) {
    if (err instanceof ProtocolViolation) channel.fail(err)
    const reason = channel.ended.aborted ? channel.ended.reason : err
    if (request !== undefined && 'question' in request) logQuery(services.log, request.question, reason, channel)
    else logTree(services.log, reason, channel)
    await refuse(channel, err)
  }
}

function logTree(log: Logger, err: unknown, channel: Channel): void {
  // An asking host may leave at any time: it pre-seeded enough, or found its data elsewhere.
  const level = codeOf(err) === 'TRANSFER_CUT' ? 'info' : 'warn'
  log[level]({ err, asker: channel.peer }, 'copy to another host ended early')
}

/** A coded error is the response, and the asking host reports it. The text of other errors stays in this log. */
function logQuery(log: Logger, { kind }: Query, err: unknown, channel: Channel): void {
  const level = codeOf(err) === undefined || isViolation(err) ? 'warn' : 'debug'
  log[level]({ err, asker: channel.peer, query: kind }, 'query of another host failed')
}

function isViolation(err: unknown): boolean {
  return (err as Error).cause instanceof ProtocolViolation
}

/** Sends the asking host the error, if it is still there. */
async function refuse(channel: Channel, error: unknown): Promise<void> {
  try {
    await channel.send('error', encodeError(error))
    await channel.finish()
  } catch {
    // The asking host is gone; the failure is in the log already.
  }
}
