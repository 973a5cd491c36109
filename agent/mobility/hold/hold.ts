import { WherryError } from '../../model/errors.ts'
import type { VolumeRecord } from '../../model/model.ts'
import type { Versioned } from '../../registry/contract.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import { changedHands, heldElsewhere, leaseLost, notFound } from '../errors.ts'
import { announceTakeover, commitTakeover, type Takeover } from '../failover/takeover.ts'
import { ownHost } from '../own-host.ts'
import { isSameTree } from '../record/checkpoint-order.ts'
import { markOf } from '../record/record-mark.ts'
import { changeVolume, STALE_READ } from '../record/update-record.ts'
import { dropIntent, type Hold, intendHold } from './intent.ts'
import { addUse, dropUse } from './volume-use.ts'

/** What taking and entering a hold touches. */
type HoldContext = Pick<
  Context,
  | 'dependencies'
  | 'hosts'
  | 'locks'
  | 'wakeups'
  | 'lease'
  | 'guardedVolumes'
  | 'containerUses'
  | 'releases'
  | 'releaseTroubles'
  | 'volumeTroubles'
  | 'stateDisk'
  | 'confirmed'
  | 'surrendered'
  | 'endedUses'
>

/**
 * Becomes the holder of an idle volume and mounts it, or mounts what this host holds already.
 * Runs under the volume's lock. `verifiedHash`: hash of this host's tree, as just found; null: it was not read.
 * Returns the mountpoint, or why another host was faster, or LEASE_LOST.
 * Throws what waiting does not mend: COPY_DAMAGED, VOLUME_NOT_FOUND.
 */
export async function holdAndMount(
  context: HoldContext,
  entry: Versioned<VolumeRecord>,
  mountId: string,
  verifiedHash: string | null,
  signal: AbortSignal,
): Promise<string | WherryError> {
  const seen = entry.value
  const tree = seen.holder === null ? { checkpoint: seen.last, hash: verifiedHash } : null
  const intent = await intendHold(context, seen, tree, signal)
  if (intent instanceof WherryError) return intent
  const { local, hold } = intent
  if (hold === null) return await mountHeld(context, local, mountId)
  const committed = await commitHold(context, entry, hold, signal)
  if (committed instanceof WherryError) return await dropIntent(context, seen, committed)
  return await mountHeld(context, await enterHold(context, committed, hold), mountId)
}

/**
 * Takes a volume over from a lost holder, and mounts it.
 * Failover writes the record; then this host holds what the record says. `verifiedHash` and the results are as for
 * `holdAndMount`.
 */
export async function takeOverAndMount(
  context: HoldContext & Pick<Context, 'expiry'>,
  entry: Versioned<VolumeRecord>,
  found: Takeover,
  mountId: string,
  verifiedHash: string,
  signal: AbortSignal,
): Promise<string | WherryError> {
  const seen = entry.value
  const intent = await intendHold(context, seen, { checkpoint: found.best, hash: verifiedHash }, signal)
  if (intent instanceof WherryError) return intent
  const { local, hold } = intent
  if (hold === null) return await mountHeld(context, local, mountId)
  const committed = await commitTakeover(context, entry, found, hold, signal)
  if (committed instanceof WherryError) return await dropIntent(context, seen, committed)
  const held = await enterHold(context, committed, hold)
  announceTakeover(context, committed)
  return await mountHeld(context, held, mountId)
}

/** Writes to this disk that the intended hold came about, as the acknowledged record says. */
async function enterHold(
  context: Pick<Context, 'dependencies' | 'guardedVolumes' | 'confirmed'>,
  record: VolumeRecord,
  { incarnation }: Hold,
): Promise<LocalCopy> {
  const { store, self, log } = context.dependencies
  const { id, name, epoch } = record
  const seen = (await store.copy(id))?.recordSeen ?? null
  const mark = { epochSeen: epoch, recordSeen: markOf(record, seen) }
  const local = await store.update(id, { held: { epoch, incarnation }, ...mark })
  context.confirmed.set(id, { name, incarnation })
  context.guardedVolumes.learn(record, self.id)
  log.info({ volume: name, id, epoch }, 'held')
  return local
}

/** Mounts what this host holds, for one use. */
async function mountHeld(
  context: Omit<HoldContext, 'wakeups' | 'confirmed'>,
  local: LocalCopy,
  mountId: string,
): Promise<string> {
  const { bus, self } = context.dependencies
  const { id, name } = local
  try {
    const mountpoint = await addUse(context, local, mountId)
    // The watchdog knows of the volume before a container can write to it, and none starts under an expired lease.
    await context.guardedVolumes.tell()
    if (!context.lease.runs) {
      await dropUse(context, id, mountId)
      throw leaseLost(name, ownHost(context))
    }
    bus.publish(`volume.${id}.held`, { name, host: self.id, epoch: local.held?.epoch })
    return mountpoint
  } catch (error) {
    // Docker sends no Unmount for a Mount that failed: what was held for it must not stay held.
    void context.releases.releaseIfUnused(id)
    throw error
  }
}

/**
 * Makes this host the holder by compare-and-set, or confirms that it is.
 * That takes a write, never a read (promise 1).
 */
async function commitHold(
  context: Pick<Context, 'dependencies' | 'hosts'>,
  { value: seen, revision }: Versioned<VolumeRecord>,
  held: { epoch: number; incarnation: string },
  signal: AbortSignal,
): Promise<VolumeRecord | WherryError> {
  const { self, clock } = context.dependencies
  let refusal: WherryError | null = null
  const { entry } = await changeVolume(
    context.dependencies,
    seen.name,
    (record) => {
      refusal = null
      if (record === null) throw notFound(seen.name)
      if (record.id !== seen.id || record.removedAt !== null) {
        // Removed, and perhaps made anew: the next try of the Mount finds out which.
        refusal = changedHands(seen.name)
        return record
      }
      if (record.epoch < seen.epoch) return STALE_READ
      // Written again even if it is ours already: a read may be stale, an acknowledged write is not.
      if (record.holder?.incarnation === held.incarnation) return { ...record }
      if (record.holder !== null || record.epoch !== held.epoch - 1 || !isSameTree(record.last, seen.last)) {
        refusal = heldElsewhere(record, context.hosts, self.id)
        return record
      }
      return {
        ...record,
        epoch: held.epoch,
        holder: { host: self.id, incarnation: held.incarnation, since: clock.now().toISOString() },
      }
    },
    signal,
    revision,
  )
  if (refusal !== null) return refusal
  if (entry === null) throw notFound(seen.name)
  return entry.value
}
