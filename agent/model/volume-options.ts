import { z } from 'zod'
import type { VolumeOptions } from './model.ts'

/** 2^32 - 1 means "leave the owner alone" to chown, so it is no id. */
const HIGHEST_ID = 4_294_967_294
const HIGHEST_MODE = 0o7777
/** More copies than that no cluster that this is made for has hosts. */
export const MOST_COPIES = 9
/** Below that checkpoints would do nothing but pause containers. */
export const SHORTEST_CHECKPOINT_MS = 1_000
export const LONGEST_CHECKPOINT_MS = 86_400_000
/** What `auto` means where the kernel tells what was written to, and where changed files have to be read whole. */
const AUTO_TRACKED_MS = 2_000
const AUTO_SCANNED_MS = 10_000

/** What a volume gets that was created without options. */
export const DEFAULT_OPTIONS: VolumeOptions = {
  uid: 0,
  gid: 0,
  mode: 0o755,
  copies: 2,
  checkpointMs: 'auto',
  consistency: 'pause',
  failover: 'auto',
  onIsolation: 'pause',
}

const id = z.int().min(0).max(HIGHEST_ID)

/** Records of a time when there were fewer options get the defaults of the others. */
const FIELDS = {
  uid: id,
  gid: id,
  mode: z.int().min(0).max(HIGHEST_MODE),
  copies: z.int().min(1).max(MOST_COPIES).default(DEFAULT_OPTIONS.copies),
  checkpointMs: z
    .union([z.int().min(SHORTEST_CHECKPOINT_MS).max(LONGEST_CHECKPOINT_MS), z.literal('auto')])
    .nullable()
    .default(DEFAULT_OPTIONS.checkpointMs),
  consistency: z.enum(['pause', 'live']).default(DEFAULT_OPTIONS.consistency),
  failover: z.enum(['auto', 'manual']).default(DEFAULT_OPTIONS.failover),
  onIsolation: z.enum(['pause', 'continue']).default(DEFAULT_OPTIONS.onIsolation),
}

/** Options as they are sent: nothing else may be there. */
export const givenOptions: z.ZodType<VolumeOptions> = z.strictObject(FIELDS)
/** Options as they are stored: what a newer version added is kept. */
export const storedOptions: z.ZodType<VolumeOptions> = z.looseObject(FIELDS)

/** Wanted age of the newest checkpoint; null: none is to be taken. `tracked`: the kernel tells what was written to the volume. */
export function checkpointTargetMs({ checkpointMs }: VolumeOptions, tracked: boolean): number | null {
  if (checkpointMs !== 'auto') return checkpointMs
  return tracked ? AUTO_TRACKED_MS : AUTO_SCANNED_MS
}

/** Options as Docker's `-o` takes them. */
export function describeOptions(options: VolumeOptions): string {
  const { uid, gid, mode, copies, checkpointMs, consistency, failover, onIsolation } = options
  const checkpoint = checkpointMs === null ? 'off' : checkpointMs === 'auto' ? 'auto' : `${checkpointMs / 1000}s`
  const pairs = { uid, gid, mode: mode.toString(8).padStart(4, '0'), copies, checkpoint, consistency, failover }
  return Object.entries({ ...pairs, on_isolation: onIsolation })
    .map(([key, value]) => `${key}=${value}`)
    .join(' ')
}
