import { z } from 'zod'
import type { HostRecord, RemovedRecord } from '../model/model.ts'
import { count } from '../model/record-schema.ts'

export { volumeSchema } from '../model/record-schema.ts'

export const removedSchema: z.ZodType<RemovedRecord> = z.looseObject({
  id: z.string().min(1),
  name: z.string().min(1),
  removedAt: z.string(),
  hosts: z.array(z.string()),
  lost: z.array(z.string()).optional(),
})

const covered = { epoch: count, seq: count, hash: z.string().min(1).optional(), at: z.string() }

const trouble = z.looseObject({ code: z.string(), text: z.string(), since: z.string() })

export const hostSchema: z.ZodType<HostRecord> = z.looseObject({
  id: z.string().min(1),
  name: z.string(),
  address: z.string(),
  transferPort: count,
  incarnation: z.string(),
  version: z.string().optional(),
  swarmNode: z.string().nullable(),
  holds: count.optional(),
  uses: z.record(z.string(), z.array(z.string())),
  referrers: z.record(z.string(), z.array(z.string())).optional(),
  covered: z.record(z.string(), z.looseObject(covered)).default({}),
  diverged: z.record(z.string(), count).default({}),
  namesakes: z.array(z.string()).default([]),
  stuck: z.record(z.string(), trouble).optional(),
  late: z.record(z.string(), trouble).optional(),
  damaged: z.record(z.string(), z.string()).optional(),
  unwritable: trouble.nullable().optional(),
  at: z.string(),
  renewal: count.default(0),
  expiredBy: z.string().nullable().default(null),
  leaseMs: count.optional(),
  seizeAfterMs: count.optional(),
  freeBytes: count.default(0),
  totalBytes: count.default(0),
  zone: z.string().nullable().default(null),
  draining: z.boolean().default(false),
  peers: z.string().optional(),
  certificateEnds: z.string().nullable().optional(),
})
