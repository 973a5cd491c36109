import { WherryError } from '../../model/errors.ts'
import type { VolumeRecord } from '../../model/model.ts'
import type { Versioned } from '../../registry/contract.ts'
import type { Context } from '../context.ts'
import type { RemovalConsent, RemovalView } from '../contract.ts'
import { changedHands, notFound } from '../errors.ts'
import { writeTakeover } from '../failover/takeover.ts'
import { removeHeld } from '../hold/ask-holder.ts'
import { stuckAt } from '../own-host.ts'
import { COMMAND_WAIT_MS, changeVolume, readVolume, untilAnswered } from '../record/update-record.ts'
import { describeReferences, stillHeld, stillReferred } from './errors.ts'
import { type DiscardContext, discardRemoved, finishRemoval } from './finish-removal.ts'
import { findReferences, isAway, type References } from './references.ts'
import { NO_CONSENT, type Objection, objectionTo } from './removal-consent.ts'

/**
 * The plugin gives a removal up after 25 s (plugin/driver.ts).
 * A running release ends sooner for all but huge volumes.
 */
const REMOVE_MS = 20_000
/** What is left until the plugin gives up: after the mark the background can finish everything. */
const FINISH_MS = 4_000
/** How often a removal asks again while the holder releases. */
const POLL_MS = 500
/** A container that was ended with `--rm` stays listed as exited until Docker has removed it. */
const ENDED_MS = 2_000
/** Servers of the registry are not longer behind each other while they have a leader. */
const STALE_MS = 3_000
/**
 * An agent or an engine that restarts is back by then.
 * A host that is away for longer is not waited for.
 */
const RESTART_MS = 30_000
/** States in which a container has ended and may be about to go. */
const ENDED_STATES = new Set(['exited', 'removing'])

/**
 * Removes a volume that nothing refers to from the cluster. May be repeated; durable on return.
 * It asks every host's engine and a manager of the Swarm, waits for the holder's release, and marks the record: the
 * point of no return. Then it leaves a tombstone for the hosts with copies, frees the name, and moves this host's
 * copy to the trash. Other hosts follow by themselves, also after they were away.
 * With `consent` it also removes a volume that is referred to, or whose holder is lost.
 * VOLUME_IN_USE with everything that refers to it, also when that is not known; VOLUME_NOT_FOUND.
 */
export async function removeVolume(
  context: Pick<
    Context,
    | 'dependencies'
    | 'hosts'
    | 'locks'
    | 'wakeups'
    | 'copyManager'
    | 'expiry'
    | 'checkpointScheduler'
    | 'containerUses'
    | 'releases'
    | 'releaseTroubles'
    | 'volumeTroubles'
    | 'confirmed'
    | 'surrendered'
    | 'givenSeqs'
    | 'endedUses'
  >,
  name: string,
  consent: RemovalConsent = NO_CONSENT,
  caller?: AbortSignal,
): Promise<RemovalView> {
  const { dependencies } = context
  const startMs = dependencies.clock.elapsedMs()
  const limits = [
    dependencies.signal,
    dependencies.clock.deadline(REMOVE_MS),
    ...(caller === undefined ? [] : [caller]),
  ]
  const signal = AbortSignal.any(limits)
  let newest: Versioned<VolumeRecord> | null = null
  let newestMs = startMs
  let refusal: WherryError | null = null
  let isClear = false
  for (;;) {
    const inTime = AbortSignal.any([signal, dependencies.clock.deadline(COMMAND_WAIT_MS)])
    const entry = await readVolume(dependencies, name, inTime)
    if (entry === null && newest === null) throw notFound(name)
    if (entry === null || (newest !== null && entry.revision < newest.revision)) {
      // Another host has removed it, or this read is stale.
      if (newest !== null && entry === null && dependencies.clock.elapsedMs() - newestMs > STALE_MS)
        return viewOf(context, newest.value, null)
      if (signal.aborted) throw refusal ?? changedHands(name)
      await dependencies.clock.sleep(POLL_MS, signal)
      continue
    }
    if (newest !== null && entry.value.id !== newest.value.id) return viewOf(context, newest.value, null)
    newest = entry
    newestMs = dependencies.clock.elapsedMs()
    const seen = entry.value
    if (seen.removedAt !== null) return await finish(context, seen, null)
    context.hosts.see(await untilAnswered(dependencies.clock, () => dependencies.registry.hosts(), signal))
    const found = await findReferences(context, seen, isClear, signal)
    // An aborted search proves nothing.
    if (signal.aborted && refusal !== null) throw refusal
    const objection = objectionTo(seen, found, consent)
    isClear = objection === null
    if (objection !== null) {
      refusal = stillReferred(seen, context.hosts, objection)
      if (!mayPass(context, objection, dependencies.clock.elapsedMs() - startMs)) throw refusal
    } else if (mayMark(context, seen, consent)) {
      const marked = await markRemoved(context, entry, consent, signal)
      if (marked !== null) return await finish(context, marked, found)
    } else {
      // A removed volume needs no final checkpoint: the holder gives it up as it is.
      const marked = isAway(context, seen.holder?.host ?? '') ? null : await removeHeld(context, entry, signal)
      if (marked !== null) return await finish(context, marked, found)
      refusal = holderKeeps(context, seen)
    }
    if (signal.aborted) throw refusal ?? holderKeeps(context, seen)
    await context.wakeups.wait(name, (until) => dependencies.clock.sleep(POLL_MS, until), signal)
  }
}

/** Why the holder has not released the volume yet. */
function holderKeeps(
  context: Pick<Context, 'dependencies' | 'hosts' | 'expiry' | 'releaseTroubles'>,
  record: VolumeRecord,
): WherryError {
  const { hosts, dependencies, expiry } = context
  const host = record.holder?.host ?? ''
  const trouble = stuckAt(context, host, record)
  const state = { isAway: isAway(context, host), waitMs: expiry.inMs(host), trouble }
  return stillHeld(record, hosts, dependencies.self.id, state)
}

/** Whether no release has to come first. */
function mayMark(
  context: Pick<Context, 'dependencies' | 'hosts' | 'expiry'>,
  { holder }: VolumeRecord,
  { force, acceptLoss }: RemovalConsent,
): boolean {
  if (holder === null) return true
  return isAway(context, holder.host) ? acceptLoss && context.expiry.inMs(holder.host) === 0 : force
}

/** Whether the objection may disappear in a moment. */
function mayPass(context: Pick<Context, 'hosts'>, { references, away }: Objection, waitedMs: number): boolean {
  const { services, containers } = references
  if (services.length > 0 || containers.some(({ state }) => !ENDED_STATES.has(state))) return false
  if (containers.some(({ state }) => state !== 'removing') && waitedMs >= ENDED_MS) return false
  return away.every(({ host }) => context.hosts.silentMs(host) < RESTART_MS)
}

/**
 * Marks the record as removed: from here on no host can hold the volume. Null: read it again.
 * A hold that began since the references were asked for has raised the epoch, and wins. The lease of a holder that is
 * given up is ended first.
 */
async function markRemoved(
  context: Pick<Context, 'dependencies' | 'hosts' | 'expiry'>,
  entry: Versioned<VolumeRecord>,
  { force, acceptLoss }: RemovalConsent,
  signal: AbortSignal,
): Promise<VolumeRecord | null> {
  const { clock } = context.dependencies
  const seen = entry.value
  const { id, name, epoch, holder } = seen
  const removedAt = clock.now().toISOString()
  if (holder !== null && isAway(context, holder.host)) {
    if (!acceptLoss) return null
    const next = (record: VolumeRecord) => ({
      ...record,
      epoch: epoch + 1,
      holder: null,
      removedAt,
      lost: [holder.host],
    })
    const mine = (record: VolumeRecord) => record.id === id && record.removedAt !== null
    const written = await writeTakeover(context, entry, next, mine, signal)
    return written instanceof WherryError ? null : written
  }
  const { entry: marked } = await changeVolume(
    context.dependencies,
    name,
    (record) => {
      if (record === null || record.id !== id || record.removedAt !== null) return record
      const isAsSeen =
        record.epoch === epoch && (record.holder === null || (force && record.holder.host === holder?.host))
      return isAsSeen ? { ...record, removedAt } : record
    },
    signal,
    entry.revision,
  )
  return marked?.value.id === id && marked.value.removedAt !== null ? marked.value : null
}

async function finish(
  context: DiscardContext & Pick<Context, 'hosts'>,
  marked: VolumeRecord,
  found: References | null,
): Promise<RemovalView> {
  const { signal, clock } = context.dependencies
  await finishRemoval(context, marked, AbortSignal.any([signal, clock.deadline(FINISH_MS)]))
  await discardRemoved(context, marked, true)
  return viewOf(context, marked, found)
}

function viewOf(
  context: Pick<Context, 'hosts'>,
  { id, name, lost }: VolumeRecord,
  found: References | null,
): RemovalView {
  return {
    volume: name,
    id,
    references: found === null ? [] : describeReferences(context.hosts, found),
    lost: (lost ?? []).map((host) => context.hosts.label(host)),
  }
}
