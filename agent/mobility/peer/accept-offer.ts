import type { VolumeRecord } from '../../model/model.ts'
import { rejectOnAbort } from '../../runtime/abort.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { CopyReply, PeerIdentity } from '../../transfer/contract.ts'
import type { Context } from '../context.ts'
import { setAsideDiverged } from '../hold/give-up-hold.ts'
import { ownLabel } from '../own-host.ts'
import { isLeftBehind, isOnlyIntended } from '../record/copies.ts'
import { isNews, markOf } from '../record/record-mark.ts'
import { type ConfirmedHold, confirmOffer, type Offer, requireSender } from './confirm-offer.ts'
import { offerRefused } from './errors.ts'

/** An apply that takes longer than this is no help to the asker. */
const APPLY_WAIT_MS = 10_000

/**
 * Fetches the checkpoint that its holder offers, or joins the pull that does.
 * Resolves when it is committed and applied.
 * The offer is believed only from the host that it names, and only under a hold that the registry names.
 * The epoch is on disk before anything is asked for. May be repeated; when `signal` aborts, the pull continues.
 * PEER_REFUSED: the connection is not that host's.
 * STALE_EPOCH: this host knows better (promise 8): a higher epoch, a hold of its own, a copy that has diverged or is
 * not in the record.
 * COPY_RUNNING: some of it was not there any more; the next checkpoint brings the rest. DISK_FULL, TRANSFER_CUT and
 * other failures of a copy.
 */
export async function takeOffer(
  context: Pick<Context, 'dependencies' | 'hosts' | 'locks' | 'copyManager' | 'lease'>,
  offer: Offer,
  peer: PeerIdentity,
  signal: AbortSignal,
): Promise<CopyReply> {
  const { checkpoint, from } = offer
  requireSender(context, offer, peer)
  const hold = await rejectOnAbort(confirmOffer(context, offer), signal)
  const { record } = hold
  const local = await context.dependencies.store.copy(record.id)
  if (local !== null && hold.isRead) await rejectOnAbort(setAsideDiverged(context, local, record), signal)
  await rejectOnAbort(
    context.locks.run(record.id, () => admit(context, hold)),
    signal,
  )
  await rejectOnAbort(context.copyManager.bring(record, checkpoint, from), signal)
  const reply = await replyWithCopy(context, record.id)
  if (reply !== null) return reply
  throw offerRefused(record, ownLabel(context), 'it was removed meanwhile')
}

/**
 * Returns this host's copy as other hosts see it; null: there is none.
 * Its `checkpoint` is the newest committed one, null for a copy that is half applied or damaged.
 */
export async function replyWithCopy(
  context: Pick<Context, 'dependencies' | 'locks' | 'lease'>,
  volume: string,
): Promise<CopyReply | null> {
  const { store, self } = context.dependencies
  const found = await store.copy(volume)
  const local = found?.applying ? await afterApply(context, found) : found
  if (local === null) return null
  const usable = !local.applying && local.damaged === null && (local.held === null || context.lease.runs)
  return {
    host: self.id,
    epochSeen: local.epochSeen,
    checkpoint: usable ? local.checkpoint : null,
    held: local.held !== null && !isOnlyIntended(local),
  }
}

/** Waits for a running apply; a copy whose apply was cut off stays as it is. */
async function afterApply(
  context: Pick<Context, 'dependencies' | 'locks'>,
  found: LocalCopy,
): Promise<LocalCopy | null> {
  const { store, clock, signal } = context.dependencies
  const applied = context.locks.run(found.id, () => store.copy(found.id))
  return await rejectOnAbort(applied, AbortSignal.any([signal, clock.deadline(APPLY_WAIT_MS)])).catch(() => found)
}

/** Checks whether this copy may take a checkpoint, and notes the hold on disk. Runs under the volume's lock. */
async function admit(
  context: Pick<Context, 'dependencies' | 'hosts'>,
  { record, isRead }: ConfirmedHold,
): Promise<void> {
  const { store, self } = context.dependencies
  const mine = record.copies[self.id]
  if (mine === undefined) throw offerRefused(record, ownLabel(context), 'no copy is placed on this host')
  if (mine.state === 'diverged')
    throw offerRefused(record, ownLabel(context), 'this copy has writes that the cluster does not have')
  const local = (await store.copy(record.id)) ?? (await begin(context, record))
  if (local.checkpoint !== null && isLeftBehind(record, local.checkpoint))
    throw offerRefused(record, ownLabel(context), 'this copy is set aside first')
  if (local.held !== null) throw offerRefused(record, ownLabel(context), `it is held here at epoch ${local.held.epoch}`)
  if (record.epoch < local.epochSeen)
    throw offerRefused(record, ownLabel(context), `epoch ${local.epochSeen} has been seen here`)
  const isNoted = !isRead || !isNews(local, record)
  if (record.epoch === local.epochSeen && isNoted) return
  const recordSeen = isNoted ? local.recordSeen : markOf(record, local.recordSeen)
  await store.update(record.id, { epochSeen: record.epoch, recordSeen })
}

/**
 * Creates the copy for the first offer of a volume.
 * A late message must not bring back a removed volume: the registry has to know this copy.
 */
async function begin(context: Pick<Context, 'dependencies' | 'hosts'>, seen: VolumeRecord): Promise<LocalCopy> {
  const { registry, store, self } = context.dependencies
  const { id, name, options } = seen
  const record = (await registry.volume(name))?.value
  const known = record?.id === id && record.removedAt === null && record.copies[self.id] !== undefined
  if (!known) throw offerRefused(seen, ownLabel(context), 'the registry knows no copy here')
  return await store.create({ id, name, options })
}
