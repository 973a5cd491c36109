import { nullOnAbort } from '../../runtime/abort.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { SurrenderReply } from '../../transfer/contract.ts'
import { isSurrendered, isUnused } from '../checkpoint/surrendered.ts'
import type { Context } from '../context.ts'
import { ownLabel } from '../own-host.ts'
import { troubleOf } from '../trouble.ts'
import type { Surrendered, SurrenderRequest } from '../use-contract.ts'
import { otherHold } from './errors.ts'
import { nextCheckpoint } from './release.ts'

/** How long a release may take before the holder replies how far it is. */
const RELEASE_WAIT_MS = 3_000
/**
 * After a surrender no release is tried for this long.
 * The other host is about to end the hold, or fetches the tree first.
 */
const SURRENDERED_MS = 5_000
const FETCHED_MS = 60_000

/**
 * Replies to a host that asks this one to give a volume up. May be repeated.
 * `release`: retries the release now, and says what keeps it from being done.
 * `tree` and `removal`: unmounts the volume without a release if no container uses it. It is mounted again only after
 * a write that confirms the hold.
 * `tree`: the tree is read as it stands and may be fetched from here, also when this host's disk cannot be written.
 */
export async function surrenderHold(
  context: Pick<
    Context,
    | 'dependencies'
    | 'hosts'
    | 'locks'
    | 'checkpointScheduler'
    | 'containerUses'
    | 'liveCaptures'
    | 'releases'
    | 'releaseTroubles'
    | 'pendingMounts'
    | 'confirmed'
    | 'releasing'
    | 'surrendered'
    | 'givenSeqs'
    | 'endedUses'
  >,
  asked: SurrenderRequest,
  signal: AbortSignal,
): Promise<SurrenderReply> {
  const { store, clock } = context.dependencies
  const { volume: id, want } = asked
  const local = await heldAs(context, asked)
  if (local === null) return IDLE
  if (want !== 'removal' && isUnused(context, local) && !isSurrendered(context, id)) {
    const inTime = AbortSignal.any([signal, clock.deadline(RELEASE_WAIT_MS)])
    await nullOnAbort(context.releases.releaseIfUnused(id, true), inTime)
    if ((await heldAs(context, asked)) === null) return IDLE
  }
  if (want !== 'release') return await context.locks.run(id, () => surrender(context, asked))
  const containers = context.containerUses.live(local.name)
  if (containers.length > 0 || !isUnused(context, (await store.copy(id)) ?? local)) return inUse(containers)
  // The trouble of an earlier try says nothing of a release that runs.
  return { ...IDLE, outcome: 'stuck', trouble: context.releasing.has(id) ? null : context.releaseTroubles.of(id) }
}

/** Runs under the volume's lock. */
async function surrender(
  context: Pick<
    Context,
    | 'dependencies'
    | 'hosts'
    | 'checkpointScheduler'
    | 'containerUses'
    | 'liveCaptures'
    | 'pendingMounts'
    | 'confirmed'
    | 'surrendered'
    | 'givenSeqs'
    | 'endedUses'
  >,
  asked: SurrenderRequest,
): Promise<SurrenderReply> {
  const { store, clock } = context.dependencies
  const local = await heldAs(context, asked)
  if (local === null) return IDLE
  const { id, name } = local
  try {
    await context.containerUses.refresh()
  } catch (error) {
    // Without the engine nobody knows whether a container runs.
    return { ...IDLE, outcome: 'stuck', trouble: troubleOf(error, clock.now()) }
  }
  const containers = context.containerUses.live(name)
  if (containers.length > 0 || context.pendingMounts.has(name) || !isUnused(context, local)) return inUse(containers)
  const before = context.surrendered.get(id)
  context.confirmed.delete(id)
  if (before?.incarnation === asked.incarnation && before.final !== null) {
    before.untilMs = holdOffUntilMs(context, before)
    return givenUp(before)
  }
  void context.liveCaptures.end(id)
  await context.checkpointScheduler.stop(id)
  try {
    await store.unmount(id)
  } catch (error) {
    return { ...IDLE, outcome: 'stuck', trouble: troubleOf(error, clock.now()) }
  }
  const left = asked.want === 'tree' ? await readTree(context, local) : { final: null, trouble: null }
  const surrendered = { incarnation: asked.incarnation, untilMs: holdOffUntilMs(context, left), ...left }
  context.surrendered.set(id, surrendered)
  if (left.final !== null) context.givenSeqs.set(id, Math.max(left.final.seq, context.givenSeqs.get(id) ?? 0))
  context.dependencies.log.warn({ volume: name, id, want: asked.want }, 'hold surrendered: another host may end it')
  return givenUp(surrendered)
}

function holdOffUntilMs(context: Pick<Context, 'dependencies'>, { final }: Pick<Surrendered, 'final'>): number {
  return context.dependencies.clock.elapsedMs() + (final === null ? SURRENDERED_MS : FETCHED_MS)
}

async function readTree(
  context: Pick<Context, 'dependencies' | 'surrendered' | 'givenSeqs'>,
  local: LocalCopy,
): Promise<Pick<Surrendered, 'final' | 'trouble'>> {
  try {
    const found = await context.dependencies.store.captureAside(local.id, context.dependencies.signal)
    return { final: await nextCheckpoint(context, local, found), trouble: null }
  } catch (error) {
    context.dependencies.log.error({ err: error, volume: local.name }, 'tree of a surrendered volume unreadable')
    return { final: null, trouble: troubleOf(error, context.dependencies.clock.now()) }
  }
}

const IDLE: SurrenderReply = { outcome: 'idle', containers: [], trouble: null, final: null }

function inUse(containers: readonly string[]): SurrenderReply {
  return { ...IDLE, outcome: 'in-use', containers }
}

function givenUp({ final, trouble }: Surrendered): SurrenderReply {
  return { ...IDLE, outcome: 'given-up', final, trouble }
}

/** Null: the volume is not held here, or not any more, by that hold. */
async function heldAs(
  context: Pick<Context, 'dependencies' | 'hosts'>,
  { volume, incarnation, epoch }: SurrenderRequest,
): Promise<LocalCopy | null> {
  const local = await context.dependencies.store.copy(volume)
  if (local === null || local.held === null) return null
  if (local.held.incarnation === incarnation) return local
  throw otherHold(local.name, ownLabel(context), local.held.epoch, epoch)
}
