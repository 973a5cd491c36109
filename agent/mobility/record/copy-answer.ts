import { z } from 'zod'
import { checkpointFields, count } from '../../model/record-schema.ts'
import type { CopyReply, SurrenderReply } from '../../transfer/contract.ts'
import { malformedReply } from './errors.ts'

const reply: z.ZodType<CopyReply> = z.object({
  host: z.string().min(1),
  epochSeen: count,
  checkpoint: z.object(checkpointFields).nullable(),
  held: z.boolean(),
})

const surrendered: z.ZodType<SurrenderReply> = z.object({
  outcome: z.enum(['idle', 'in-use', 'stuck', 'given-up']),
  containers: z.array(z.string()),
  trouble: z.object({ code: z.string(), text: z.string(), since: z.string() }).nullable(),
  final: z.object(checkpointFields).nullable(),
})

/**
 * Parses a holder's reply to a request to give a volume up.
 * REQUEST_INVALID when it cannot be understood.
 */
export function parseSurrenderReply(value: unknown, from: string): SurrenderReply {
  const found = surrendered.safeParse(value)
  if (found.success) return found.data
  throw malformedReply(from, 'its hold', found.error)
}

/**
 * Parses a host's reply about its copy; null: it has none.
 * REQUEST_INVALID when it cannot be understood.
 */
export function parseCopyReply(value: unknown, from: string): CopyReply | null {
  const found = reply.nullable().safeParse(value)
  if (found.success) return found.data
  throw malformedReply(from, 'its copy', found.error)
}
