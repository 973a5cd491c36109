import type { VolumeOptions } from '../../agent/model/model.ts'
import type { Chance } from './random.ts'

/** What a run may have besides faults: what people do, and options that are not the usual ones. */
export const KINDS = [
  /** A person drains hosts. */
  'drains',
  /** Copies that are too many go soon, and hosts that are gone are replaced soon. */
  'trims',
  /** Volumes are removed, and created anew under the same name. */
  'removals',
  /** Hosts are cleaned up of volumes that no container there has. */
  'cleanups',
  /** failover=manual, and a person who promotes. */
  'manual',
  /** on_isolation=continue, and a person who promotes. */
  'continue',
  /** consistency=live. */
  'live',
  /** checkpoint=off. */
  'off',
  /** A person pauses containers. */
  'pauses',
  /** Commands are run in containers. */
  'execs',
  /** The registry comes back empty, and a person recovers it. */
  'wipe',
  /** Hypervisors stop machines, and their clocks with them. */
  'stops',
  /** Hosts have different settings of the lease. */
  'leases',
  /** The first hold of a run never arrives. */
  'unborn',
  /** Disks have what an older release left of holds that never came about. */
  'forged',
  /** A volume is taken over more often than its record's list is long, while a host with a tree of its own is away. */
  'ages',
  /** Somebody writes into copies that nobody uses, and undoes that later. */
  'changes',
] as const

export type Kind = (typeof KINDS)[number]
export type Kinds = ReadonlySet<Kind>

/** Most runs have none of them: they go deeper into what happens everywhere. */
const PLAIN = 0.6
/** Of the others so many have each one. */
const SHARES: Readonly<Record<Kind, number>> = {
  drains: 0.25,
  trims: 0.25,
  removals: 0.25,
  cleanups: 0.25,
  manual: 0.2,
  continue: 0.2,
  live: 0.1,
  off: 0.1,
  pauses: 0.2,
  execs: 0.2,
  wipe: 0.1,
  stops: 0.2,
  leases: 0.2,
  unborn: 0.25,
  forged: 0.15,
  ages: 0.03,
  changes: 0.2,
}

/** `always`: those that a run has whatever the seed says. */
export function drawKinds(chance: Chance, always: readonly Kind[]): Kinds {
  const kinds = new Set<Kind>(always)
  if (!chance.hit(PLAIN)) for (const kind of KINDS) if (chance.hit(SHARES[kind])) kinds.add(kind)
  // With its tombstones the registry has lost what was removed: nobody can know then.
  if (kinds.has('wipe')) kinds.delete('removals')
  // Nobody takes over by himself there, or nobody is there to take over from.
  if (kinds.has('ages'))
    for (const other of ['manual', 'continue', 'off', 'removals', 'wipe'] as const) kinds.delete(other)
  return kinds
}

/**
 * Settings of the lease of each host, where a run has some of its own. All keep the margin that a valid setting has.
 */
export function leasesOf(kinds: Kinds, hosts: readonly string[], chance: Chance) {
  const pick = () => {
    const leaseMs = chance.pick([4_000, 6_000, 8_000])
    return { heartbeatMs: 1_000, leaseMs, seizeAfterMs: 1.5 * leaseMs }
  }
  return kinds.has('leases') ? hosts.map((host) => ({ host, lease: pick() })) : []
}

/** The options that the kinds ask for. */
export function optionsOf(kinds: Kinds, usual: VolumeOptions): VolumeOptions {
  return {
    ...usual,
    checkpointMs: kinds.has('off') ? null : usual.checkpointMs,
    consistency: kinds.has('live') ? 'live' : usual.consistency,
    failover: kinds.has('manual') ? 'manual' : usual.failover,
    onIsolation: kinds.has('continue') ? 'continue' : usual.onIsolation,
  }
}
