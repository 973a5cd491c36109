import type { PeerIdentity, Query } from '../../transfer/contract.ts'
import type { Context } from '../context.ts'
import { compareOwnCopy } from '../failover/sound-candidates.ts'
import { takeInventory } from '../recovery/inventory.ts'
import { findOwnReferences } from '../volume/own-references.ts'
import { replyWithCopy, takeOffer } from './accept-offer.ts'

/**
 * Returns the reply to another host's question, by its kind.
 * Any host may ask all but `offer`: their replies change no data, and only inform.
 */
export async function replyToQuery(
  context: Pick<
    Context,
    | 'dependencies'
    | 'hosts'
    | 'locks'
    | 'wakeups'
    | 'copyManager'
    | 'treeChecks'
    | 'lease'
    | 'guardedVolumes'
    | 'containerUses'
    | 'releases'
    | 'confirmed'
  >,
  question: Query,
  peer: PeerIdentity,
  signal: AbortSignal,
): Promise<unknown> {
  switch (question.kind) {
    case 'copy':
      return await replyWithCopy(context, question.volume)
    case 'offer':
      return await takeOffer(context, question, peer, signal)
    case 'references':
      return await findOwnReferences(context, question)
    case 'surrender':
      return await context.releases.surrender(question, signal)
    case 'registry':
      return await context.dependencies.leaderView()
    case 'compare':
      return await compareOwnCopy(context, question, signal)
    case 'inventory':
      return await takeInventory(context)
  }
}
