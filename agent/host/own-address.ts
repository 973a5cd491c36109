import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import { WherryError } from '../model/errors.ts'

/** What the search asks of the machine. */
export interface AddressSources {
  /** IP addresses of this host's interfaces. */
  readonly local: () => readonly string[]
  /** IP addresses of a DNS name; rejects when it has none. */
  readonly resolve: (name: string) => Promise<readonly string[]>
}

const MACHINE: AddressSources = {
  local: () => Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address)),
  resolve: async (name) => (await lookup(name, { all: true })).map(({ address }) => address),
}

/**
 * Returns which of all hosts' addresses is this host's own: the one that an interface of this host has.
 * SETTING_INVALID: none or several are. Addresses may come later, so it may be repeated.
 */
export async function findOwnAddress(peers: readonly string[], sources = MACHINE): Promise<string> {
  const local = sources.local().map(canonical)
  const isOwn = async (peer: string) => {
    const addresses = isIP(peer) === 0 ? await sources.resolve(peer).catch(() => []) : [peer]
    return addresses.some((address) => local.includes(canonical(address)))
  }
  const own = await Promise.all(peers.map(isOwn))
  const [found, ...more] = peers.filter((_, nth) => own[nth])
  if (found !== undefined && more.length === 0) return found
  const list = `WHERRY_PEERS (${peers.join(', ')})`
  const what =
    found === undefined
      ? `None of ${list} is an address of this host, which has ${local.join(', ')}.`
      : `${list} names this host more than once: ${[found, ...more].join(', ')}.`
  throw new WherryError('SETTING_INVALID', what, {
    hint: 'Correct the list, or say which of them this host is: docker plugin set wherry WHERRY_ADVERTISE=ADDRESS.',
  })
}

/** An IPv6 address can be written in several ways. */
function canonical(address: string): string {
  return isIP(address) === 6 ? new URL(`http://[${address.replace(/%.*$/, '')}]`).hostname.slice(1, -1) : address
}
