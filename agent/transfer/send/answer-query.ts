import { WherryError } from '../../model/errors.ts'
import type { Channel } from '../connection/channel.ts'
import type { Question, QuestionAnswerer } from '../contract.ts'
import { CHUNK_MAX_BYTES, ProtocolViolation } from '../wire/frame.ts'
import { encodeJson } from '../wire/message.ts'

/** An inventory of 10,000 copies, each with a few kilobytes of options, checkpoint and trees put aside, fits twice. */
export const ANSWER_MAX_BYTES = 64 * 1024 * 1024

/**
 * Answers one question over `channel`. `answerer`'s signal aborts when the asker is gone: it reads all the time, so that also
 * a silent death is noticed. Rejects as `answerer` does, or with what ended the connection.
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

/** An asker has nothing more to say but pings. */
async function listen(channel: Channel): Promise<void> {
  try {
    const { type } = await channel.next()
    channel.fail(new ProtocolViolation(`a ${type} frame after a question`))
  } catch (error) {
    // Whoever answers meets the same error through the channel.
    channel.fail(error)
  }
}

function tooLong({ kind }: Question, bytes: number): WherryError {
  const message = `The answer to a question (${kind}) has ${bytes} bytes, ${ANSWER_MAX_BYTES} are the most that may be sent.`
  return new WherryError('INTERNAL', message, { hint: 'Please report this.' })
}
