import type { Violation } from './checker.ts'
import { complaintOf } from './complaints.ts'
import { planFaults } from './faults.ts'
import { usePlainAborts } from './plain-abort.ts'
import { type Settings, SHIPPED } from './settings.ts'
import { StuckWatch } from './stuck-watch.ts'
import type { Totals } from './totals.ts'
import { SimWorld } from './world.ts'

/**
 * After the last fault all must be well within this time. The slowest case: a drained host keeps what a Mount has asked
 * for until ten minutes after that Mount was given up.
 */
const CALM_MOST_MS = 20 * 60_000
const CALM_LOOK_MS = 1_000
const AFTER_SET_BACK_MS = 60_000
/** All has been well for so long before a run ends. */
const WELL_MS = 3_000
/** A run with more steps never ends. */
const STEPS_MOST = 2_000_000

export interface RunResult {
  readonly seed: number
  readonly failures: readonly Violation[]
  readonly totals: Totals
  readonly steps: number
  readonly virtualMs: number
}

/**
 * Runs one seed. The same seed, settings and code give the same run, event by event. `trace` gets a line for each event
 * worth reading.
 */
export async function simulate(
  seed: number,
  settings: Settings = SHIPPED,
  trace: ((line: string) => void) | null = null,
): Promise<RunResult> {
  const world = new SimWorld(seed, settings, trace)
  const { timeline, checker } = world
  const onRejection = (error: unknown) => {
    checker.failed('bug', `a rejection that nobody handled: ${error instanceof Error ? error.stack : String(error)}`)
  }
  const restoreAborts = usePlainAborts()
  process.on('unhandledRejection', onRejection)
  try {
    await runThrough(world)
  } finally {
    process.off('unhandledRejection', onRejection)
    restoreAborts()
  }
  const { steps, nowMs } = timeline
  return { seed, failures: checker.failures, totals: checker.totals, steps, virtualMs: nowMs }
}

/** Start, faults, calm. */
async function runThrough(world: SimWorld): Promise<void> {
  const { timeline, checker } = world
  const mayContinue = () => checker.failures.length === 0 && timeline.steps < STEPS_MOST
  const faults = planFaults(world)
  start(world)
  await timeline.run(faults.endMs, mayContinue)
  if (mayContinue()) {
    world.trace('-', 'the faults are over')
    faults.mend()
    await settleDown(world, mayContinue)
  }
  for (const machine of world.machines()) machine.powerOff()
}

async function settleDown(world: SimWorld, mayContinue: () => boolean): Promise<void> {
  const { timeline, checker } = world
  const endMs = timeline.nowMs + CALM_MOST_MS
  let wellMs = 0
  let complaint: string | null = null
  // What a registry has forgotten need not come back by itself; it is enough that nothing worse comes of it.
  while (mayContinue() && timeline.nowMs < endMs && !checker.setBack) {
    await timeline.run(timeline.nowMs + CALM_LOOK_MS, mayContinue)
    complaint = complaintOf(world)
    wellMs = complaint === null ? wellMs + CALM_LOOK_MS : 0
    if (wellMs > WELL_MS) {
      if (mayContinue()) checker.data.finish()
      return
    }
  }
  if (checker.setBack) await timeline.run(timeline.nowMs + AFTER_SET_BACK_MS, mayContinue)
  else if (mayContinue()) checker.failed('liveness', `not well after ${CALM_MOST_MS / 60_000} min: ${complaint}`)
}

function start(world: SimWorld): void {
  for (const machine of world.machines()) machine.startPlugin()
  world.checker.liveness.start()
  new StuckWatch(world).start()
  world.network.onChange()
  for (const volume of world.volumes) world.operators.create(volume)
  world.swarm.start()
}
