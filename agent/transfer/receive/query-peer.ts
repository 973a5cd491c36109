import { z } from 'zod'
import type { Identity } from '../../host/certificates.ts'
import { BufferPool } from '../../runtime/buffer-pool.ts'
import type { Channel } from '../connection/channel.ts'
import { dial } from '../connection/dial.ts'
import type { Peers, Query } from '../contract.ts'
import { REPLY_MAX_BYTES } from '../send/answer-query.ts'
import { ProtocolViolation } from '../wire/frame.ts'
import { decodeJson, encodeQuery } from '../wire/message.ts'
import type { ProtocolRange } from '../wire/protocol.ts'
import { greet, nextMessage, outOfOrder } from './response-reader.ts'

/** Sends queries to other hosts, over one connection per query. `spoken`: for tests with two versions. */
export function createPeers({
  identity,
  memory = new BufferPool(),
  spoken,
}: {
  identity: Identity
  memory?: BufferPool
  spoken?: ProtocolRange
}): Peers {
  return {
    async ask(host, query, signal) {
      await using channel = await dial(host, identity, memory, signal)
      try {
        return await askOver(channel, query, spoken)
      } catch (error) {
        if (!(error instanceof ProtocolViolation)) throw error
        channel.fail(error)
        throw channel.ended.reason
      }
    },
  }
}

async function askOver(channel: Channel, query: Query, spoken?: ProtocolRange): Promise<unknown> {
  const version = await greet(channel, spoken)
  await channel.send('request', encodeQuery(query, version))
  const parts: Buffer[] = []
  let bytes = 0
  while (true) {
    const message = await nextMessage(channel)
    if (message.type === 'end') return decodeJson(z.unknown(), Buffer.concat(parts))
    if (message.type !== 'reply') throw outOfOrder(message, 'an answer')
    bytes += message.body.length
    if (bytes > REPLY_MAX_BYTES) throw new ProtocolViolation(`an answer of more than ${REPLY_MAX_BYTES} bytes`)
    parts.push(message.body)
  }
}
