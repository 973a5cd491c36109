import { INSTALL_STEPS } from './doc-install-steps.ts'
import { LOSS_STEPS } from './doc-loss-steps.ts'
import { OPERATIONS_STEPS } from './doc-operations-steps.ts'
import type { DocStep } from './doc-step.ts'

/** In the order in which they run, on one lab. */
export const STEPS: readonly DocStep[] = [...INSTALL_STEPS, ...OPERATIONS_STEPS, ...LOSS_STEPS]

/** Commands that no step runs, and what covers them. */
export const NOT_RUN_HERE: Readonly<Record<string, string>> = {
  'scripts/test': 'runs this very test; .ci/run runs it as documented',
  'scripts/demo': 'no test runs it; drain.test.ts drains a service twice on the same lab and counts its lines',
}
