import { z } from 'zod'
import { checkpointFields, count, storedOptions } from '../../model/record-schema.ts'
import type { RecordMark, UseMarks } from '../contract.ts'
import { NO_USE_MARKS } from './new-copy.ts'

/** A checkpoint as this disk has it: only checkpoints that were hashed here are recorded. */
export const storedCheckpoint = z.looseObject({ ...checkpointFields, hash: z.string().regex(/^[0-9a-f]{64}$/) })

/** A DivergedTree, as it stands in `volume.json`, and in the note that is written before it is set aside. */
export const divergedTree = z.looseObject({
  name: z.string(),
  epoch: count,
  base: z.looseObject({ epoch: count, seq: count }).nullable(),
  at: z.string(),
  bytes: count.nullable().default(null),
})

const useMarks: z.ZodType<UseMarks> = z.looseObject({
  unmountsMs: z.array(z.number()),
  ground: z
    .looseObject({
      ends: z.record(z.string(), z.number().nullable()),
      live: z.array(z.string()),
      since: z.array(z.string()),
    })
    .nullable(),
})

const recordMark: z.ZodType<RecordMark> = z.looseObject({
  epoch: count,
  holder: z.looseObject({ host: z.string(), incarnation: z.string() }).nullable(),
  last: z.looseObject({ epoch: count, seq: count, hash: z.string() }).nullable(),
})

/**
 * The fields of a LocalCopy, as they stand in `volume.json` and in messages between hosts.
 * At every depth what a newer version added is kept.
 */
export const localCopyFields = {
  id: z.string(),
  name: z.string(),
  options: storedOptions,
  checkpoint: z.looseObject(checkpointFields).nullable(),
  held: z.looseObject({ epoch: count, incarnation: z.string() }).nullable(),
  applying: z.boolean(),
  // Older records do not have these.
  damaged: z.array(z.string()).nullable().default(null),
  epochSeen: count,
  diverged: z.array(divergedTree).default([]),
  mounts: z.record(z.string(), count),
  uses: useMarks.default(NO_USE_MARKS),
  recordSeen: recordMark.nullable().default(null),
}
