import { isIP } from 'node:net'
import { SUBJECT_PREFIX } from './bus.ts'

/** The registry's buckets, as far as rights depend on them. */
export interface BucketNames {
  readonly all: readonly string[]
  /** Those from which entries are removed. */
  readonly removable: readonly string[]
}

/** Subjects of NATS that a host may publish and subscribe to. */
export interface HostRights {
  readonly publish: { readonly allow: readonly string[]; readonly deny: readonly string[] }
  readonly subscribe: { readonly allow: readonly string[] }
}

/**
 * Returns what a host may do in NATS: write and read the registry's buckets, and send messages to other agents.
 * `manages`: it may also create the buckets' streams and change their configuration. Who can do that can have a server
 * write anything anywhere, so only hosts that run a server need it.
 * It may create no consumer: the server would deliver messages on any subject for it, whatever its rights are.
 */
export function hostRights(address: string, manages: boolean, { all, removable }: BucketNames): HostRights {
  const calls = (verb: string, buckets: readonly string[]) => buckets.map((name) => `$JS.API.STREAM.${verb}.KV_${name}`)
  return {
    publish: {
      allow: [
        ...all.map((name) => `$KV.${name}.*`),
        ...calls('INFO', all),
        ...calls('MSG.GET', all),
        ...calls('MSG.DELETE', removable),
        ...(manages ? [...calls('CREATE', all), ...calls('UPDATE', all)] : []),
        `${SUBJECT_PREFIX}>`,
      ],
      // The servers themselves publish there what was stored.
      deny: [`${SUBJECT_PREFIX}registry.>`],
    },
    subscribe: { allow: [`${inboxOf(address)}.>`, `${SUBJECT_PREFIX}>`] },
  }
}

/**
 * Returns the name by which a nats-server with `verify_and_map` knows a host.
 * It looks for DNS names in the certificate, and for the subject, but not for IP addresses
 * (nats-server's `checkClientTLSCertSubject`).
 */
export function natsUser(address: string): string {
  return isIP(address) === 0 ? address : `CN=${address}`
}

/** Returns the prefix of the subjects on which a host gets replies. No other host may listen there. */
export function inboxOf(address: string): string {
  return `_INBOX.${address.replaceAll('.', '_').replaceAll(':', '=')}`
}
