import { z } from 'zod'
import type { VolumeOptions, VolumeRecord } from './model.ts'
import { optionFields } from './volume-options.ts'

/** A counter that starts at zero. */
export const count = z.int().nonnegative()

/** The fields of a checkpoint wherever it is stored or sent. */
export const checkpointFields = {
  epoch: count,
  seq: count,
  hash: z.string().min(1),
  at: z.string(),
  bytes: count,
  files: count,
}

/** Options as they are stored. What a newer version added is kept. */
export const storedOptions: z.ZodType<VolumeOptions> = z.looseObject(optionFields(z))

const identity = z.looseObject({ epoch: count, seq: count, hash: z.string().min(1) })

const copy = z.looseObject({
  epoch: count,
  seq: count,
  checkpoint: identity.optional(),
  state: z.enum(['current', 'behind', 'filling', 'diverged']),
  at: z.string(),
  kept: z.boolean().default(false),
})

const seizure = z.looseObject({
  epoch: count,
  from: z.string(),
  by: z.string(),
  at: z.string(),
  base: identity,
  ageSeconds: z.number().nonnegative(),
})

/**
 * A volume's record as the registry has it and hosts send it.
 * Unknown fields are kept: an older agent that writes a record back must not drop what a newer one put there.
 */
export const volumeSchema: z.ZodType<VolumeRecord> = z.looseObject({
  id: z.string().min(1),
  name: z.string().min(1),
  options: storedOptions,
  createdAt: z.string(),
  epoch: count,
  holder: z.looseObject({ host: z.string(), incarnation: z.string(), since: z.string() }).nullable(),
  last: z.looseObject(checkpointFields).nullable(),
  seizures: z.array(seizure).default([]),
  seizuresCut: z.looseObject({ epoch: count, hosts: z.array(z.string()) }).optional(),
  copies: z.record(z.string(), copy),
  removedAt: z.string().nullable(),
  lost: z.array(z.string()).optional(),
  predecessor: z.looseObject({ id: z.string(), hosts: z.array(z.string()), until: z.string().nullable() }).optional(),
})
