import { z } from 'zod'
import { WherryError } from '../../model/errors.ts'
import { checkpointFields, count } from '../../model/record-schema.ts'
import type { CopyAnswer, SurrenderAnswer } from '../../transfer/contract.ts'

const answer: z.ZodType<CopyAnswer> = z.object({
  host: z.string().min(1),
  epochSeen: count,
  checkpoint: z.object(checkpointFields).nullable(),
  held: z.boolean(),
})

const surrendered: z.ZodType<SurrenderAnswer> = z.object({
  outcome: z.enum(['idle', 'in-use', 'stuck', 'given-up']),
  containers: z.array(z.string()),
  trouble: z.object({ code: z.string(), text: z.string(), since: z.string() }).nullable(),
  final: z.object(checkpointFields).nullable(),
})

/** What a holder says that was asked to let a volume go, checked. REQUEST_INVALID when it is no such answer. */
export function readSurrenderAnswer(value: unknown, from: string): SurrenderAnswer {
  const found = surrendered.safeParse(value)
  if (found.success) return found.data
  throw new WherryError('REQUEST_INVALID', `${from} gave an answer about its hold that is none.`, {
    hint: 'Run the same version of Wherry on all hosts.',
    cause: found.error,
  })
}

/** What a host says of its copy, checked. Null: it has none. REQUEST_INVALID when it is no such answer. */
export function readCopyAnswer(value: unknown, from: string): CopyAnswer | null {
  const found = answer.nullable().safeParse(value)
  if (found.success) return found.data
  throw new WherryError('REQUEST_INVALID', `${from} gave an answer about its copy that is none.`, {
    hint: 'Run the same version of Wherry on all hosts.',
    cause: found.error,
  })
}
