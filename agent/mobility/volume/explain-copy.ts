import type { VolumeRecord } from '../../model/model.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import { placementHostsFor } from '../placement/hosts.ts'
import { mayGiveUp } from '../placement/policy.ts'

/** Damaged paths that are named; `verify` names them all. */
const PATHS_NAMED = 3

/**
 * Returns why a host's copy is not at the newest checkpoint, or cannot be used.
 * Null: nothing is wrong as far as this host knows. The copy's host knows the reason and says it in its
 * heartbeat; while the volume is in use, the holder knows it as well.
 */
export function explainCopy(
  context: Pick<
    Context,
    'dependencies' | 'hosts' | 'copyManager' | 'checkpointScheduler' | 'volumeTroubles' | 'node' | 'refusedTombstones'
  >,
  record: VolumeRecord,
  host: string,
  local: LocalCopy | null,
): string | null {
  if (host !== context.dependencies.self.id)
    return describeOther(context, record, host) ?? describeSurplus(context, record, host)
  if (context.refusedTombstones.has(record.id)) return 'kept, although a tombstone says that the volume was removed'
  if (local?.damaged != null) return `damaged: ${named(local.damaged)}`
  if (record.holder?.host === host) return null
  const trouble = context.volumeTroubles.of(record.id)?.text ?? null
  // Nothing is newer than an idle volume's checkpoint; while it is in use something may be.
  if (isCurrent(record, host) && record.holder === null) return trouble
  const failure = context.copyManager.failure(record.id)?.message ?? trouble
  const job = isCurrent(record, host) ? null : describeJob(context, record)
  return failure ?? job ?? describeSurplus(context, record, host)
}

/** Of an idle volume: a copy that is behind and surplus is not brought up to date. */
function describeSurplus(
  context: Pick<Context, 'dependencies' | 'hosts' | 'node'>,
  record: VolumeRecord,
  host: string,
): string | null {
  if (record.holder !== null || record.copies[host]?.state !== 'behind') return null
  const lives = (id: string) => id === context.dependencies.self.id || context.hosts.alive(id)
  return mayGiveUp(record, host, placementHostsFor(context, [record]), lives)
    ? 'one too many: it will be dropped'
    : null
}

function describeOther(
  context: Pick<Context, 'hosts' | 'checkpointScheduler'>,
  record: VolumeRecord,
  host: string,
): string | null {
  if (!context.hosts.alive(host) && !context.hosts.knowsAway) return 'its host was not heard from yet'
  const away = context.hosts.describeAway(host)
  if (away !== null || record.holder?.host === host) return away
  const damaged = context.hosts.get(host)?.damaged?.[record.id]
  if (damaged !== undefined) return `damaged: ${damaged}`
  const trouble = context.hosts.get(host)?.stuck?.[record.id]
  if (trouble !== undefined) return trouble.text
  // The registry has a checkpoint only once another host has it: a copy that is current there may lack a newer one.
  const progress = context.checkpointScheduler.progress(record.id, host)
  if (progress === null || progress.failure !== null) return progress?.failure ?? null
  return progress.asking && !isCurrent(record, host) ? 'a checkpoint is on its way there' : null
}

function isCurrent(record: VolumeRecord, host: string): boolean {
  return record.copies[host]?.state === 'current'
}

function describeJob(context: Pick<Context, 'copyManager'>, { id }: VolumeRecord): string | null {
  const { from, state } = context.copyManager.job(id)?.view('') ?? { from: '' }
  if (from === '') return null
  return state === 'running' ? `being pulled from ${from}` : 'pre-seeded; waits for the holder to release the volume'
}

function named(paths: readonly string[]): string {
  const rest = paths.length - PATHS_NAMED
  return `${paths.slice(0, PATHS_NAMED).join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`
}
