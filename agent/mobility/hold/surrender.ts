import { WherryError } from '../../model/errors.ts'
import type { VolumeRecord } from '../../model/model.ts'
import type { Versioned } from '../../registry/contract.ts'
import { nullOnAbort } from '../../runtime/abort.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Question, SurrenderAnswer } from '../../transfer/contract.ts'
import { isSurrendered, isUnused } from '../checkpoint/surrendered.ts'
import type { Context } from '../context.ts'
import { withCopy } from '../record/copies.ts'
import { readSurrenderAnswer } from '../record/copy-answer.ts'
import { troubleOf } from '../trouble.ts'
import type { Surrendered } from '../use-contract.ts'
import { nextCheckpoint, releaseIfUnused } from './release.ts'

type Want = Extract<Question, { kind: 'surrender' }>['want']
type Surrender = Extract<Question, { kind: 'surrender' }>

/** How long a release that somebody waits for may take before the holder says how far it is. */
const RELEASE_WAIT_MS = 3_000
/**
 * No release is tried after a surrender for as long as this: whoever was allowed to end the hold is about to, or
 * fetches the tree first.
 */
const SURRENDERED_MS = 5_000
const FETCHED_MS = 60_000

/**
 * Asks the holder to let the volume go; null: it was not reached. Read the record first: what the answer allows holds
 * for a write from that revision only, because the holder writes the record before it mounts the volume again.
 */
export async function askHolder(
  context: Context,
  record: VolumeRecord,
  want: Want,
  signal: AbortSignal,
): Promise<SurrenderAnswer | null> {
  const { holder, id, epoch } = record
  if (holder === null) return null
  const question: Surrender = { kind: 'surrender', volume: id, epoch, incarnation: holder.incarnation, want }
  try {
    if (holder.host === context.dependencies.self.id) return await answerSurrender(context, question, signal)
    const host = context.hosts.get(holder.host)
    if (host === undefined) return null
    const address = { address: host.address, port: host.transferPort }
    return readSurrenderAnswer(
      await context.dependencies.peers.ask(address, question, signal),
      context.hosts.label(host.id),
    )
  } catch (error) {
    context.dependencies.log.debug({ err: error, volume: record.name }, 'the holder was not reached')
    return null
  }
}

/**
 * The holder's answer. `release`: tries the release again now, and says what keeps it from being done. `tree` and
 * `removal`: gives the volume up without a release, if no container uses it: it is unmounted, and mounted again only
 * after a write that confirms the hold. For `tree` the tree is read as it stands and may be fetched from here, also
 * when this host's disk cannot be written. May be repeated.
 */
export async function answerSurrender(
  context: Context,
  asked: Surrender,
  signal: AbortSignal,
): Promise<SurrenderAnswer> {
  const { store, clock } = context.dependencies
  const { volume: id, want } = asked
  const local = await heldAs(context, asked)
  if (local === null) return IDLE
  if (want !== 'removal' && isUnused(context, local) && !isSurrendered(context, id)) {
    const inTime = AbortSignal.any([signal, clock.deadline(RELEASE_WAIT_MS)])
    await nullOnAbort(releaseIfUnused(context, id, true), inTime)
    if ((await heldAs(context, asked)) === null) return IDLE
  }
  if (want !== 'release') return await context.locks.run(id, () => surrender(context, asked))
  const containers = context.containerUses.live(local.name)
  if (containers.length > 0 || !isUnused(context, (await store.copy(id)) ?? local)) return inUse(containers)
  // What an earlier try met says nothing of one that is under way.
  return { ...IDLE, outcome: 'stuck', trouble: context.releasing.has(id) ? null : context.releaseTroubles.of(id) }
}

/** Runs under the volume's lock. */
async function surrender(context: Context, asked: Surrender): Promise<SurrenderAnswer> {
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

function holdOffUntilMs(context: Context, { final }: Pick<Surrendered, 'final'>): number {
  return context.dependencies.clock.elapsedMs() + (final === null ? SURRENDERED_MS : FETCHED_MS)
}

async function readTree(context: Context, local: LocalCopy): Promise<Pick<Surrendered, 'final' | 'trouble'>> {
  try {
    const found = await context.dependencies.store.captureAside(local.id, context.dependencies.signal)
    return { final: await nextCheckpoint(context, local, found), trouble: null }
  } catch (error) {
    context.dependencies.log.error(
      { err: error, volume: local.name },
      'the tree of a surrendered volume cannot be read',
    )
    return { final: null, trouble: troubleOf(error, context.dependencies.clock.now()) }
  }
}

/**
 * Marks a volume as removed whose holder has given it up for that; null: it did not, or the record has changed
 * meanwhile.
 */
export async function removeHeld(
  context: Context,
  { value: record, revision }: Versioned<VolumeRecord>,
  signal: AbortSignal,
): Promise<VolumeRecord | null> {
  const { registry, clock } = context.dependencies
  const { holder } = record
  if (holder === null || record.removedAt !== null) return null
  if ((await askHolder(context, record, 'removal', signal))?.outcome !== 'given-up') return null
  const at = clock.now().toISOString()
  // The holder has a tree even if no checkpoint of it ever reached the registry.
  const copy = { epoch: record.epoch, seq: 0, state: 'filling', at, kept: false } as const
  const known = record.copies[holder.host] === undefined ? withCopy(record, holder.host, copy) : record
  const write = await registry.updateVolume({ ...known, holder: null, removedAt: at }, revision)
  return write.outcome === 'done' ? write.entry.value : null
}

const IDLE: SurrenderAnswer = { outcome: 'idle', containers: [], trouble: null, final: null }

function inUse(containers: readonly string[]): SurrenderAnswer {
  return { ...IDLE, outcome: 'in-use', containers }
}

function givenUp({ final, trouble }: Surrendered): SurrenderAnswer {
  return { ...IDLE, outcome: 'given-up', final, trouble }
}

/** Null: the volume is not held here, or not any more, by that hold. */
async function heldAs(context: Context, { volume, incarnation, epoch }: Surrender): Promise<LocalCopy | null> {
  const local = await context.dependencies.store.copy(volume)
  if (local === null || local.held === null) return null
  if (local.held.incarnation === incarnation) return local
  const host = context.hosts.label(context.dependencies.self.id)
  throw new WherryError(
    'STALE_EPOCH',
    `Host ${host} holds volume "${local.name}" at epoch ${local.held.epoch}, asked was for epoch ${epoch}.`,
  )
}
