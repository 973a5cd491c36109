import type { PeerIdentity } from '../../agent/transfer/contract.ts'

/** A host whose certificate is made out for one address. */
export function peerAt(address: string): PeerIdentity {
  return { name: address, altNames: `DNS:${address}` }
}
