import { WherryError } from '../../model/errors.ts'
import type { Channel } from '../connection/channel.ts'
import type { Question, QuestionAnswerer } from '../contract.ts'
import { CHUNK_MAX_BYTES, ProtocolViolation } from '../wire/frame.ts'
import { encodeJson } from '../wire/message.ts'

/**
 * Twice the size of an inventory of 10,000 copies with a few kilobytes of options, checkpoint and diverged trees
 * each.
 */
export const ANSWER_MAX_BYTES = 64 * 1024 * 1024

/**
 * Replies to one query over `channel`.
 * The signal of `answerer` aborts when the asking host is gone, also after a silent death: the connection is read all
 * the time. Rejects as `answerer` does, or with the reason why the connection ended.
 */
export async function reply(
  channel: Channel,
  question: Question,
  answerer: QuestionAnswerer,
  peer: { readonly name: string },
): Promise<void> {
  void listen(channel)
  const answer = (await answerer(question, peer, channel.ended)) ?? null
  const bytes = encodeJson(answer)
  if (bytes.length > ANSWER_MAX_BYTES) throw tooLong(question, bytes.length)
  for (let at = 0; at < bytes.length; at += CHUNK_MAX_BYTES) {
    await channel.send('answer', bytes.subarray(at, at + CHUNK_MAX_BYTES))
  }
  await channel.send('end')
}

/** An asking host has nothing more to send but pings. */
async function listen(channel: Channel): Promise<void> {
  try {
    const { type } = await channel.next()
    channel.fail(new ProtocolViolation(`a ${type} frame after a question`))
  } catch (error) {
    // The sending side meets the same error through the channel.
    channel.fail(error)
  }
}

function tooLong({ kind }: Question, bytes: number): WherryError {
  const message =
    `The answer to a question (${kind}) has ${bytes} bytes, ` + `${ANSWER_MAX_BYTES} are the most that may be sent.`
  return new WherryError('INTERNAL', message, { hint: 'Please report this.' })
}
