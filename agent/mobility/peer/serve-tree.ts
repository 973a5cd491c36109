import type { LocalCopy } from '../../store/contract.ts'
import type { SnapshotRef } from '../../store/tree-contract.ts'
import type { TreeRequest } from '../../transfer/contract.ts'
import { finalTree } from '../checkpoint/surrendered.ts'
import type { Context } from '../context.ts'
import { leaseLost } from '../errors.ts'
import { ownHost, ownLabel } from '../own-host.ts'
import { noCompleteCopy, noLongerHeld, notAtCheckpoint, requestStale } from './errors.ts'

/**
 * Returns which tree another host's request gets; a live tree is captured first.
 * The checkpoint of a volume that is held here comes from its spool. The asker's hashes decide whether the bytes are
 * that checkpoint.
 * STALE_EPOCH: the asker's view is older than what this disk has seen (promise 8).
 * NOT_AT_CHECKPOINT: this copy is not, or no longer, at that checkpoint.
 * LEASE_LOST: a holder whose lease has expired gives nothing away that it could be taken over with.
 */
export async function chooseTree(
  context: Pick<
    Context,
    | 'dependencies'
    | 'hosts'
    | 'locks'
    | 'lease'
    | 'guardedVolumes'
    | 'liveCaptures'
    | 'stateDisk'
    | 'releasing'
    | 'surrendered'
  >,
  request: TreeRequest,
  signal: AbortSignal,
): Promise<SnapshotRef> {
  const host = ownLabel(context)
  const local = await copyFor(context, request)
  if (local === null || local.applying || local.damaged !== null) {
    throw noCompleteCopy(request.volume, host)
  }
  requireEpoch(context, request, local)
  if (request.want.kind === 'checkpoint') {
    // It is not written any more, and the asker was allowed to continue from it.
    if (finalTree(context, local)?.hash === request.want.hash) return { id: local.id, kind: 'aside' }
    if (local.checkpoint?.hash !== request.want.hash) {
      throw notAtCheckpoint(local.name, host)
    }
    // From then on the volume may be taken over there, also when it is idle now and held here next. So the watchdog
    // has to know, and the lease has to run.
    await context.guardedVolumes.expect(local.id)
    if (local.held === null) return { id: local.id, kind: 'last' }
    if (!context.lease.runs) throw leaseLost(local.name, ownHost(context))
    // Another hold may have begun meanwhile.
    requireEpoch(context, request, (await context.dependencies.store.copy(local.id)) ?? local)
    return { id: local.id, kind: 'spool' }
  }
  if (local.held === null) {
    throw noLongerHeld(local.name, host)
  }
  const until = AbortSignal.any([signal, context.dependencies.signal])
  await context.liveCaptures.run(local.id, until, (ended) =>
    context.dependencies.store.capture(local.id, 'live', ended),
  )
  return { id: local.id, kind: 'live' }
}

function requireEpoch(
  context: Pick<Context, 'dependencies' | 'hosts'>,
  request: TreeRequest,
  { epochSeen, name }: LocalCopy,
): void {
  if (request.epoch >= epochSeen) return
  throw requestStale(name, ownLabel(context), epochSeen, request.epoch)
}

async function copyFor(
  context: Pick<Context, 'dependencies' | 'locks' | 'releasing' | 'surrendered'>,
  { volume, want }: TreeRequest,
): Promise<LocalCopy | null> {
  const { store } = context.dependencies
  const local = await store.copy(volume)
  if (want.kind === 'live') return local
  const isFinal = local !== null && finalTree(context, local)?.hash === want.hash
  if (isFinal || (local?.checkpoint?.hash === want.hash && !context.releasing.has(volume))) return local
  // The asker may have read a release in the registry before this host has written it to its disk.
  return context.locks.run(volume, () => store.copy(volume))
}
