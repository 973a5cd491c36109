import { createHash } from 'node:crypto'
import type { HostRecord } from '../../model/model.ts'
import type { Context } from '../context.ts'

type Needs = Pick<Context, 'hosts'> & { readonly dependencies: Pick<Context['dependencies'], 'self' | 'peerAddresses'> }

/** Short enough for a heartbeat, long enough that two lists never look alike by chance. */
const DIGEST_CHARACTERS = 16

/** Returns what a heartbeat says of the host's list of peers. The order counts: it says who runs the registry. */
export function digestOfPeers(addresses: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(addresses)).digest('hex').slice(0, DIGEST_CHARACTERS)
}

/** Whether a living host has another list of peers than this one. An older release does not say. */
export function hasOtherPeers({ dependencies, hosts }: Needs, { id, peers }: HostRecord): boolean {
  const mine = digestOfPeers(dependencies.peerAddresses.map(({ address }) => address))
  return id !== dependencies.self.id && hosts.alive(id) && peers !== undefined && peers !== mine
}

/** Whether a host that is away is none of the cluster any more: it is not listed, or another one has its address. */
export function isGone({ dependencies, hosts }: Needs, { id, address }: HostRecord): boolean {
  const { self, peerAddresses } = dependencies
  if (id === self.id || hosts.alive(id) || !hosts.knowsAway || hosts.stale) return false
  const isListed = peerAddresses.length === 0 || peerAddresses.some((peer) => peer.address === address)
  return !isListed || hosts.all().some((other) => other.address === address && other.id !== id && hosts.alive(other.id))
}

/** Returns a note for the operator if living hosts have another list of peers than this one. */
export function describeOtherLists(context: Needs): string[] {
  const others = context.hosts.all().filter((host) => hasOtherPeers(context, host))
  if (others.length === 0) return []
  const named = others.map(({ id }) => context.hosts.label(id)).join(', ')
  return [
    `Other hosts have another WHERRY_PEERS than this one: ${named}. Give every host the same list in the same order.`,
  ]
}
