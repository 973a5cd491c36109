import type { Checkpoint } from '../../agent/model/model.ts'
import type { LivenessChecker } from './liveness-checker.ts'
import type { Oracle } from './oracle.ts'
import type { Totals } from './totals.ts'

/** What the auditors of commits have of the checker. */
export interface Audit {
  readonly oracle: Oracle
  readonly totals: Totals
  readonly liveness: LivenessChecker
  /** Only planned moves and restarts: nothing may be lost. */
  planned: boolean
  failed(rule: string, text: string): void
  named(id: string, checkpoint: Pick<Checkpoint, 'epoch' | 'seq' | 'hash'>, isLine: boolean, where: string): void
  renewed(host: string): void
}
