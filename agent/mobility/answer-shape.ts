import { z } from 'zod'
import { WherryError } from '../errors.ts'
import type { CopyAnswer } from '../transfer/contract.ts'
import { checkpointFields, count } from '../volume-record.ts'

const answer: z.ZodType<CopyAnswer> = z.object({
  host: z.string().min(1),
  epochSeen: count,
  checkpoint: z.object(checkpointFields).nullable(),
  held: z.boolean(),
})

/** What a host says of its copy, checked. Null: it has none. REQUEST_INVALID when it is no such answer. */
export function readCopyAnswer(value: unknown, from: string): CopyAnswer | null {
  const found = answer.nullable().safeParse(value)
  if (found.success) return found.data
  throw new WherryError('REQUEST_INVALID', `${from} gave an answer about its copy that is none.`, {
    hint: 'Run the same version of Wherry on all hosts.',
    cause: found.error,
  })
}
