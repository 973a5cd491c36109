import type { VolumeRecord } from '../model.ts'
import type { LocalCopy } from '../store/contract.ts'
import type { Core } from './core.ts'

/** Damaged paths that are named; `verify` names them all. */
const PATHS_NAMED = 3

/**
 * Why a host's copy is not at the newest checkpoint, or cannot be used, in words, as far as this host knows. Null: nothing is wrong, or nobody has
 * told this host: what keeps a copy from coming, its own host knows and, while the volume is in use, the holder.
 */
export function describeCopy(core: Core, record: VolumeRecord, host: string, local: LocalCopy | null): string | null {
  const isSelf = host === core.parts.self.id
  const away = isSelf ? null : core.hosts.describeAway(host)
  if (away !== null) return away
  if (isSelf && local?.damaged != null) return `damaged: ${named(local.damaged)}`
  if (record.holder?.host === host || record.copies[host]?.state === 'current') return null
  return isSelf ? describeOwn(core, record) : core.checkpointing.describeCopy(record.id, host)
}

function describeOwn(core: Core, { id }: VolumeRecord): string | null {
  const job = core.copying.job(id)
  if (job === undefined) return core.copying.failure(id)?.message ?? null
  if (job.lastError !== null) return job.lastError.message
  const { from, state } = job.view('')
  if (from === '') return null
  return state === 'running' ? `being pulled from ${from}` : 'sent ahead; waits for the holder to release the volume'
}

function named(paths: readonly string[]): string {
  const rest = paths.length - PATHS_NAMED
  return `${paths.slice(0, PATHS_NAMED).join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`
}
