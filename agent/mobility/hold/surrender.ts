import { WherryError } from '../../model/errors.ts'
import type { VolumeRecord } from '../../model/model.ts'
import type { Versioned } from '../../registry/contract.ts'
import { nullOnAbort } from '../../runtime/abort.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Question, SurrenderAnswer } from '../../transfer/contract.ts'
import { isSurrendered, isUnused, type Surrendered } from '../checkpoint/surrendered.ts'
import type { Context } from '../context.ts'
import { withCopy } from '../record/copies.ts'
import { readSurrenderAnswer } from '../record/copy-answer.ts'
import { troubleOf } from '../trouble.ts'
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
  core: Context,
  record: VolumeRecord,
  want: Want,
  signal: AbortSignal,
): Promise<SurrenderAnswer | null> {
  const { holder, id, epoch } = record
  if (holder === null) return null
  const question: Surrender = { kind: 'surrender', volume: id, epoch, incarnation: holder.incarnation, want }
  try {
    if (holder.host === core.parts.self.id) return await answerSurrender(core, question, signal)
    const host = core.hosts.get(holder.host)
    if (host === undefined) return null
    const address = { address: host.address, port: host.transferPort }
    return readSurrenderAnswer(await core.parts.peers.ask(address, question, signal), core.hosts.label(host.id))
  } catch (error) {
    core.parts.log.debug({ err: error, volume: record.name }, 'the holder was not reached')
    return null
  }
}

/**
 * The holder's answer. `release`: tries the release again now, and says what keeps it from being done. `tree` and
 * `removal`: gives the volume up without a release, if no container uses it: it is unmounted, and mounted again only
 * after a write that confirms the hold. For `tree` the tree is read as it stands and may be fetched from here, also
 * when this host's disk cannot be written. May be repeated.
 */
export async function answerSurrender(core: Context, asked: Surrender, signal: AbortSignal): Promise<SurrenderAnswer> {
  const { store, clock } = core.parts
  const { volume: id, want } = asked
  const local = await heldAs(core, asked)
  if (local === null) return IDLE
  if (want !== 'removal' && isUnused(core, local) && !isSurrendered(core, id)) {
    const inTime = AbortSignal.any([signal, clock.deadline(RELEASE_WAIT_MS)])
    await nullOnAbort(releaseIfUnused(core, id, true), inTime)
    if ((await heldAs(core, asked)) === null) return IDLE
  }
  if (want !== 'release') return await core.locks.run(id, () => surrender(core, asked))
  const containers = core.uses.live(local.name)
  if (containers.length > 0 || !isUnused(core, (await store.copy(id)) ?? local)) return inUse(containers)
  // What an earlier try met says nothing of one that is under way.
  return { ...IDLE, outcome: 'stuck', trouble: core.releasing.has(id) ? null : core.troubles.of(id) }
}

/** Runs under the volume's lock. */
async function surrender(core: Context, asked: Surrender): Promise<SurrenderAnswer> {
  const { store, clock } = core.parts
  const local = await heldAs(core, asked)
  if (local === null) return IDLE
  const { id, name } = local
  try {
    await core.uses.refresh()
  } catch (error) {
    // Without the engine nobody knows whether a container runs.
    return { ...IDLE, outcome: 'stuck', trouble: troubleOf(error, clock.now()) }
  }
  const containers = core.uses.live(name)
  if (containers.length > 0 || core.pendingMounts.has(name) || !isUnused(core, local)) return inUse(containers)
  const before = core.surrendered.get(id)
  core.confirmed.delete(id)
  if (before?.incarnation === asked.incarnation && before.final !== null) {
    before.untilMs = holdOffUntilMs(core, before)
    return givenUp(before)
  }
  void core.liveCaptures.end(id)
  await core.checkpointing.stop(id)
  try {
    await store.unmount(id)
  } catch (error) {
    return { ...IDLE, outcome: 'stuck', trouble: troubleOf(error, clock.now()) }
  }
  const left = asked.want === 'tree' ? await readTree(core, local) : { final: null, trouble: null }
  const surrendered = { incarnation: asked.incarnation, untilMs: holdOffUntilMs(core, left), ...left }
  core.surrendered.set(id, surrendered)
  if (left.final !== null) core.givenSeqs.set(id, Math.max(left.final.seq, core.givenSeqs.get(id) ?? 0))
  core.parts.log.warn({ volume: name, id, want: asked.want }, 'hold surrendered: another host may end it')
  return givenUp(surrendered)
}

function holdOffUntilMs(core: Context, { final }: Pick<Surrendered, 'final'>): number {
  return core.parts.clock.elapsedMs() + (final === null ? SURRENDERED_MS : FETCHED_MS)
}

async function readTree(core: Context, local: LocalCopy): Promise<Pick<Surrendered, 'final' | 'trouble'>> {
  try {
    const found = await core.parts.store.captureAside(local.id, core.parts.signal)
    return { final: await nextCheckpoint(core, local, found), trouble: null }
  } catch (error) {
    core.parts.log.error({ err: error, volume: local.name }, 'the tree of a surrendered volume cannot be read')
    return { final: null, trouble: troubleOf(error, core.parts.clock.now()) }
  }
}

/**
 * Marks a volume as removed whose holder has given it up for that; null: it did not, or the record has changed
 * meanwhile.
 */
export async function removeHeld(
  core: Context,
  { value: record, revision }: Versioned<VolumeRecord>,
  signal: AbortSignal,
): Promise<VolumeRecord | null> {
  const { registry, clock } = core.parts
  const { holder } = record
  if (holder === null || record.removedAt !== null) return null
  if ((await askHolder(core, record, 'removal', signal))?.outcome !== 'given-up') return null
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
async function heldAs(core: Context, { volume, incarnation, epoch }: Surrender): Promise<LocalCopy | null> {
  const local = await core.parts.store.copy(volume)
  if (local === null || local.held === null) return null
  if (local.held.incarnation === incarnation) return local
  const host = core.hosts.label(core.parts.self.id)
  throw new WherryError(
    'STALE_EPOCH',
    `Host ${host} holds volume "${local.name}" at epoch ${local.held.epoch}, asked was for epoch ${epoch}.`,
  )
}
