import type { Dependencies } from '../../agent/mobility/dependencies.ts'
import type { Machine } from './machine.ts'
import type { Kind } from './scenarios.ts'

/** What a run uses of the product's settings, and how its rules may be broken on purpose. */
export interface Settings {
  readonly heartbeatMs: number
  readonly leaseMs: number
  readonly seizeAfterMs: number
  readonly pauseBudgetMs: number
  readonly replaceAfterMs: number
  /** So much later than it should the watchdog acts. */
  readonly watchdogSleepsMs: number
  /** Nobody is held who looks at what is frozen. */
  readonly unguarded: boolean
  /** What is frozen for a checkpoint is not let go on. */
  readonly freezesStay: boolean
  /** Somebody changes files of idle copies behind Wherry's back. */
  readonly tampering: boolean
  /** Share of the runs in which the registry loses its newest changes: there only promises that can hold then are looked at. */
  readonly setBack: number
  /** How often somebody wants the volume elsewhere while a fault lasts. */
  readonly rivals: number
  /** What every run has, whatever its seed says. */
  readonly always: readonly Kind[]
  /** The unplanned faults of every run; none: those that its seed says. */
  readonly unplanned: readonly string[]
  /** Whoever promotes accepts a loss, without being asked. */
  readonly acceptsUnasked: boolean
  /** Changes what an agent is given. */
  readonly bend: (parts: Dependencies, machine: Machine) => Dependencies
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
  bend: (parts) => parts,
}
