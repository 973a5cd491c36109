import type { Dependencies } from '../../agent/mobility/dependencies.ts'
import type { Machine } from './machine.ts'
import type { Scenario } from './scenarios.ts'

/** The product's settings in a run, and how its rules are broken on purpose. */
export interface Settings {
  readonly heartbeatMs: number
  readonly leaseMs: number
  readonly seizeAfterMs: number
  readonly pauseBudgetMs: number
  readonly replaceAfterMs: number
  /** The watchdog acts so much later than it should. */
  readonly watchdogSleepsMs: number
  /** Nothing thaws a container in time when runc looks at it. */
  readonly unguarded: boolean
  /** Containers frozen for a checkpoint are not thawed. */
  readonly freezesStay: boolean
  /** Somebody changes files of idle copies behind Wherry's back. */
  readonly tampering: boolean
  /** Share of the runs in which the registry loses its newest changes. Only promises that can hold then are checked. */
  readonly setBack: number
  /** How often the volume is wanted elsewhere while a fault lasts. */
  readonly rivals: number
  /** Scenarios of every run, whatever its seed says. */
  readonly always: readonly Scenario[]
  /** The unplanned faults of every run; none: as its seed says. */
  readonly unplanned: readonly string[]
  /** Every promotion accepts a loss, unasked. */
  readonly acceptsUnasked: boolean
  /** A certificate of the cluster is taken for that of any host. */
  readonly anyCertificate: boolean
  /** Hosts take any registry for theirs. */
  readonly anyRegistry: boolean
  /** Changes the dependencies of an agent. */
  readonly mutate: (parts: Dependencies, machine: Machine) => Dependencies
}

/** As shipped (agent/host/config.ts). */
export const SHIPPED: Settings = {
  heartbeatMs: 1_000,
  leaseMs: 8_000,
  seizeAfterMs: 12_000,
  pauseBudgetMs: 500,
  replaceAfterMs: 600_000,
  watchdogSleepsMs: 0,
  unguarded: false,
  freezesStay: false,
  tampering: false,
  setBack: 0.03,
  rivals: 0.3,
  always: [],
  unplanned: [],
  acceptsUnasked: false,
  anyCertificate: false,
  anyRegistry: false,
  mutate: (parts) => parts,
}
