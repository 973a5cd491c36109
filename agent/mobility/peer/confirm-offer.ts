import { isMadeOutFor } from '../../host/certificate-names.ts'
import { codeOf } from '../../model/errors.ts'
import type { VolumeRecord } from '../../model/model.ts'
import { rejectOnAbort } from '../../runtime/abort.ts'
import type { PeerIdentity, Query } from '../../transfer/contract.ts'
import type { Context } from '../context.ts'
import { ownLabel } from '../own-host.ts'
import { NO_CHECKPOINT } from '../record/copies.ts'
import { RETRY_MS } from '../record/update-record.ts'
import { offerRefused, senderUnproven } from './errors.ts'

export type Offer = Extract<Query, { kind: 'offer' }>

/** How long the registry may take to reply: an outage must not hold up checkpoints. */
const REPLY_MS = 2_000
/** How long a read may miss a hold that was acknowledged: its server may be behind. */
const BEHIND_MS = 2_000

/** A hold that the offering host has, and the volume's record under it. */
export interface ConfirmedHold {
  /** While the registry does not reply it has only what this disk has noted of it. */
  readonly record: VolumeRecord
  /** The registry has just said so. */
  readonly isRead: boolean
}

/**
 * Requires that the connection comes from the host that the offer names.
 * PEER_REFUSED: its certificate is not made out for the address in that host's heartbeat. STALE_EPOCH: this host has
 * read no such heartbeat.
 */
export function requireSender(
  context: Pick<Context, 'dependencies' | 'hosts'>,
  { record, from }: Offer,
  peer: PeerIdentity,
): void {
  const known = context.hosts.get(from)
  // After a restart in an outage no address is known: what is offered could not be fetched either.
  if (known === undefined) throw offerRefused(record, ownLabel(context), `no heartbeat of host ${from} was read yet`)
  if (isMadeOutFor(peer.altNames, known.address)) return
  throw senderUnproven(record.name, ownLabel(context), peer.name, context.hosts.label(from))
}

/**
 * Returns the hold under which a checkpoint is offered, as the registry has it.
 * Nothing of the record that came with the offer is believed. While the registry does not reply, the hold has to be
 * the one that this disk has noted last.
 * STALE_EPOCH: the volume is not held like that, or there is no such volume.
 */
export async function confirmOffer(
  context: Pick<Context, 'dependencies' | 'hosts'>,
  offer: Offer,
): Promise<ConfirmedHold> {
  const { record: said, checkpoint, from } = offer
  const refused = (why: string) => offerRefused(said, ownLabel(context), why)
  const read = await readHold(context, said)
  const record = read === undefined ? await notedRecord(context, said) : read
  if (record === null) {
    const who = read === undefined ? 'the registry does not reply, and this disk' : 'the registry'
    throw refused(`${who} knows no such hold`)
  }
  if (record.id !== said.id) throw refused('another volume has its name')
  if (record.epoch > said.epoch) throw refused(`epoch ${record.epoch} has begun`)
  const isHolder = record.holder?.host === from && record.holder.incarnation === said.holder?.incarnation
  if (record.epoch < said.epoch || !isHolder) throw refused('the offer is not from its holder')
  if (checkpoint.epoch > record.epoch) throw refused('the checkpoint is of an epoch that has not begun')
  return { record, isRead: read !== undefined }
}

/** Reads the record until it has the epoch of the offer. Null: there is none. Undefined: the registry is silent. */
async function readHold(
  context: Pick<Context, 'dependencies'>,
  { name, epoch }: VolumeRecord,
): Promise<VolumeRecord | null | undefined> {
  const { registry, clock, signal } = context.dependencies
  const behindMs = clock.elapsedMs() + BEHIND_MS
  for (;;) {
    const inTime = AbortSignal.any([signal, clock.deadline(REPLY_MS)])
    const entry = await rejectOnAbort(registry.volume(name), inTime).catch((error: unknown) => {
      signal.throwIfAborted()
      if (inTime.aborted || codeOf(error) === 'REGISTRY_UNAVAILABLE') return undefined
      throw error
    })
    if (entry === undefined) return undefined
    if ((entry?.value.epoch ?? -1) >= epoch || clock.elapsedMs() >= behindMs) return entry?.value ?? null
    await clock.sleep(RETRY_MS, signal)
  }
}

/**
 * Returns what this disk has noted of the registry's record; null: it was not read under this hold.
 * The copy was compared with that record first, so its tree is of the line.
 */
async function notedRecord(context: Pick<Context, 'dependencies'>, { id }: VolumeRecord): Promise<VolumeRecord | null> {
  const { store, self } = context.dependencies
  const local = await store.copy(id)
  const seen = local?.recordSeen ?? null
  if (local === null || seen === null || seen.holder === null) return null
  const mine = { ...NO_CHECKPOINT, state: 'behind', at: '', kept: true } as const
  return {
    id,
    name: local.name,
    options: local.options,
    createdAt: '',
    epoch: seen.epoch,
    holder: { ...seen.holder, since: '' },
    last: null,
    seizures: [],
    copies: { [self.id]: mine },
    removedAt: null,
  }
}
