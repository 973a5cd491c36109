import { z } from 'zod'
import { checkpointFields, count, volumeSchema } from '../../model/record-schema.ts'
import type { Query } from '../contract.ts'

/** Ids become part of paths on the host that is asked: only a ULID's characters are allowed. */
export const volumeId = z.string().regex(/^[0-9A-Za-z_-]{1,64}$/)
const hostId = volumeId
/** As Docker allows it, and no longer than a file name. */
const volumeName = z.string().regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$/)
const hash = z.string().regex(/^[0-9a-f]{64}$/)
const checkpoint = z.strictObject({ ...checkpointFields, hash, at: z.iso.datetime() })
/** The registry checks the shape of its records. This one came from a host and decides on paths. */
const record = volumeSchema.refine(({ id }) => volumeId.safeParse(id).success, 'an id that is none')

/** All queries, as they may come over the network. */
export const querySchema: z.ZodType<Query> = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('copy'), volume: volumeId }),
  z.strictObject({ kind: z.literal('offer'), record, checkpoint, from: hostId }),
  z.strictObject({ kind: z.literal('references'), volume: volumeId, name: volumeName, removing: z.boolean() }),
  z.strictObject({
    kind: z.literal('surrender'),
    volume: volumeId,
    epoch: count,
    incarnation: z.string().min(1).max(64),
    want: z.enum(['release', 'tree', 'removal']),
  }),
  z.strictObject({ kind: z.literal('registry') }),
  z.strictObject({ kind: z.literal('compare'), volume: volumeId, doubted: z.boolean() }),
  z.strictObject({ kind: z.literal('inventory') }),
])
