import { WherryError } from '../../model/errors.ts'
import type { Channel } from '../connection/channel.ts'
import type { PeerIdentity, Query, QueryHandler } from '../contract.ts'
import { CHUNK_MAX_BYTES, ProtocolViolation } from '../wire/frame.ts'
import { encodeJson } from '../wire/message.ts'

/**
 * Twice the size of an inventory of 10,000 copies with a few kilobytes of options, checkpoint and diverged trees
 * each.
 */
export const REPLY_MAX_BYTES = 64 * 1024 * 1024

/**
 * Replies to one query over `channel`.
 * The signal of `handler` aborts when the asking host is gone, also after a silent death: the connection is read all
 * the time. Rejects as `handler` does, or with the reason why the connection ended.
 */
export async function sendReply(
  channel: Channel,
  query: Query,
  handler: QueryHandler,
  peer: PeerIdentity,
): Promise<void> {
  void listen(channel)
  const reply = (await handler(query, peer, channel.ended)) ?? null
  const bytes = encodeJson(reply)
  if (bytes.length > REPLY_MAX_BYTES) throw tooLong(query, bytes.length)
  for (let at = 0; at < bytes.length; at += CHUNK_MAX_BYTES) {
    await channel.send('reply', bytes.subarray(at, at + CHUNK_MAX_BYTES))
  }
  await channel.send('end')
}

/** An asking host has nothing more to send but pings. */
async function listen(channel: Channel): Promise<void> {
  try {
    const { type } = await channel.next()
    channel.fail(new ProtocolViolation(`a ${type} frame after a query`))
  } catch (error) {
    // The sending side meets the same error through the channel.
    channel.fail(error)
  }
}

function tooLong({ kind }: Query, bytes: number): WherryError {
  const message = `The reply to a query (${kind}) has ${bytes} bytes, and at most ${REPLY_MAX_BYTES} may be sent.`
  return new WherryError('INTERNAL', message, { hint: 'Please report this.' })
}
