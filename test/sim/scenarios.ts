import type { VolumeOptions } from '../../agent/model/model.ts'
import type { Random } from './random.ts'

/** What a run may have besides faults: actions of operators, and unusual options. */
export const SCENARIOS = [
  /** Operators drain hosts. */
  'drains',
  /** Surplus copies are dropped soon, and lost hosts are replaced soon. */
  'trims',
  /** Volumes are removed, and created again under the same name. */
  'removals',
  /** Hosts are cleaned of volumes that no container there has. */
  'cleanups',
  /** failover=manual, and an operator who promotes. */
  'manual',
  /** on_isolation=continue, and an operator who promotes. */
  'continue',
  /** consistency=live. */
  'live',
  /** checkpoint=off. */
  'off',
  /** Operators pause containers. */
  'pauses',
  /** Commands are run in containers. */
  'execs',
  /** The registry comes back empty, and an operator recovers it. */
  'wipe',
  /** Hypervisors stop machines and their clocks. */
  'stops',
  /** Hosts have different lease settings. */
  'leases',
  /** The first hold of a run never arrives. */
  'unborn',
  /** Disks have what an older release left of holds that were never committed. */
  'forged',
  /** A volume is taken over more often than its record's list is long, while a host with a tree of its own is away. */
  'ages',
  /** Somebody changes idle copies, and undoes that later. */
  'changes',
  /** Hosts run two neighbouring versions, and change from one to the other. */
  'versions',
  /** Somebody has the key of a host, and forges offers, records, tombstones, heartbeats, messages and inventories. */
  'hostile',
] as const

export type Scenario = (typeof SCENARIOS)[number]
export type Scenarios = ReadonlySet<Scenario>

/** Most runs have none of them: they go deeper into what happens everywhere. */
const PLAIN = 0.6
/** Share of the other runs that have each scenario. */
const SHARES: Readonly<Record<Scenario, number>> = {
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
  versions: 0.2,
  hostile: 0.15,
}

/** Draws the scenarios of a run. `always`: those that it has whatever its seed says. */
export function drawScenarios(random: Random, always: readonly Scenario[]): Scenarios {
  const scenarios = new Set<Scenario>(always)
  if (!random.hit(PLAIN)) for (const kind of SCENARIOS) if (random.hit(SHARES[kind])) scenarios.add(kind)
  // The registry has lost its tombstones as well: nobody can know what was removed.
  if (scenarios.has('wipe')) scenarios.delete('removals')
  // What is forged about a volume that is being removed cannot be told from its removal.
  if (scenarios.has('hostile')) for (const other of ['removals', 'cleanups', 'ages'] as const) scenarios.delete(other)
  // There nobody takes over unasked, or there is nobody to take over from.
  if (scenarios.has('ages'))
    for (const other of ['manual', 'continue', 'off', 'removals', 'wipe'] as const) scenarios.delete(other)
  return scenarios
}

/** The lease settings of each host, where a run has some. All keep the margin of a valid setting. */
export function leasesOf(scenarios: Scenarios, hosts: readonly string[], random: Random) {
  const pick = () => {
    const leaseMs = random.pick([4_000, 6_000, 8_000])
    return { heartbeatMs: 1_000, leaseMs, seizeAfterMs: 1.5 * leaseMs }
  }
  return scenarios.has('leases') ? hosts.map((host) => ({ host, lease: pick() })) : []
}

/** The options of the scenarios. */
export function optionsOf(scenarios: Scenarios, usual: VolumeOptions): VolumeOptions {
  return {
    ...usual,
    checkpointMs: scenarios.has('off') ? null : usual.checkpointMs,
    consistency: scenarios.has('live') ? 'live' : usual.consistency,
    failover: scenarios.has('manual') ? 'manual' : usual.failover,
    onIsolation: scenarios.has('continue') ? 'continue' : usual.onIsolation,
  }
}
