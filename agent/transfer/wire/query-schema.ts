import { z } from 'zod'
import { checkpointFields, count, volumeSchema } from '../../model/record-schema.ts'
import type { Query } from '../contract.ts'

/** Ids become part of paths on the host that is asked: only a ULID's characters are allowed. */
export const volumeId = z.string().regex(/^[0-9A-Za-z_-]{1,64}$/)
const hostId = volumeId
/** As Docker allows it, and no longer than a file name. */
const volumeName = z.string().regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$/)
const hash = z.string().regex(/^[0-9a-f]{64}$/)
const checkpoint = z.looseObject({ ...checkpointFields, hash, at: z.iso.datetime() })
/** The registry checks the shape of its records. This one came from a host and decides on paths. */
const record = volumeSchema.refine(({ id }) => volumeId.safeParse(id).success, 'an id that is none')

/** All queries, as they may come over the network. What a newer version added is ignored, or kept in a record. */
export const querySchema: z.ZodType<Query> = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('copy'), volume: volumeId }),
  z.object({ kind: z.literal('offer'), record, checkpoint, from: hostId }),
  z.object({ kind: z.literal('references'), volume: volumeId, name: volumeName, removing: z.boolean() }),
  z.object({
    kind: z.literal('surrender'),
    volume: volumeId,
    epoch: count,
    incarnation: z.string().min(1).max(64),
    want: z.enum(['release', 'tree', 'removal']),
  }),
  z.object({ kind: z.literal('registry') }),
  z.object({ kind: z.literal('compare'), volume: volumeId, doubted: z.boolean() }),
  z.object({ kind: z.literal('inventory') }),
])
