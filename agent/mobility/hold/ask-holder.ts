import type { VolumeRecord } from '../../model/model.ts'
import type { Versioned } from '../../registry/contract.ts'
import type { SurrenderReply } from '../../transfer/contract.ts'
import type { Context } from '../context.ts'
import { withCopy } from '../record/copies.ts'
import { parseSurrenderReply } from '../record/copy-answer.ts'
import type { SurrenderRequest } from '../use-contract.ts'

/**
 * Asks the holder to give the volume up; null: it was not reached.
 * Read the record first. What the reply allows holds only for a write from that revision: the holder writes the
 * record before it mounts the volume again.
 */
export async function askHolder(
  context: Pick<Context, 'dependencies' | 'hosts' | 'releases'>,
  record: VolumeRecord,
  want: SurrenderRequest['want'],
  signal: AbortSignal,
): Promise<SurrenderReply | null> {
  const { holder, id, epoch } = record
  if (holder === null) return null
  const question: SurrenderRequest = { kind: 'surrender', volume: id, epoch, incarnation: holder.incarnation, want }
  try {
    if (holder.host === context.dependencies.self.id) return await context.releases.surrender(question, signal)
    const host = context.hosts.get(holder.host)
    if (host === undefined) return null
    const address = { address: host.address, port: host.transferPort }
    return parseSurrenderReply(
      await context.dependencies.peers.ask(address, question, signal),
      context.hosts.label(host.id),
    )
  } catch (error) {
    context.dependencies.log.debug({ err: error, volume: record.name }, 'holder not reached')
    return null
  }
}

/**
 * Marks a volume as removed once its holder has given it up for that.
 * Null: the holder did not, or the record has changed meanwhile.
 */
export async function removeHeld(
  context: Pick<Context, 'dependencies' | 'hosts' | 'releases'>,
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
