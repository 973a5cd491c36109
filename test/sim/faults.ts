import { planActions } from './actions.ts'
import { changeIdle, TAMPERING } from './changed-copies.ts'
import { BEFORE_HOLD, BEFORE_HOLD_KILLS, CUT_OFFS, KILLS } from './cut-offs.ts'
import type { Faults } from './fault.ts'
import { leaveForged, TAKING_OVER_MS, takeOverOften } from './history.ts'
import type { Machine } from './machine.ts'
import { PLANNED_FAULTS } from './planned-faults.ts'
import { UNPLANNED_FAULTS } from './unplanned-faults.ts'
import type { SimWorld } from './world.ts'

/**
 * Faults begin here: by then the services have started and have their first copies. In some runs they begin at the
 * start.
 */
const FIRST_MS = 16_000
const EARLY_MS = 300
const EARLY_SHARE = 0.35
const FORGED_LATEST_MS = 40_000
const STRETCH_LEAST_MS = 5_000
const STRETCH_MOST_MS = 30_000
const FAULTS_LEAST = 1
const FAULTS_MOST = 6
/** By then each volume has its copies: faults of a mutation strike after that. */
const COPIED_MS = 45_000
/** The consequences of a fault take time: leases, Swarm's patience, a take-over. */
const AFTER_LAST_MOST_MS = 50_000
/** Share of the faults that strike a host where a service runs. */
const AT_HOLDER = 0.75
/** Share of unplanned faults in a run that has any. */
const UNPLANNED_SHARE = 0.7
/** In some runs a host is in trouble from the start. */
const BROKEN_SHARE = 0.05
const BROKEN = ['odd tree', 'read-only disk']
const CHANGES_MOST = 4

/** Faults that lead to take-overs are drawn more often. */
const OFTEN = new Set(['power cut', 'isolation', 'partition', 'agent does not start', 'agent stuck', 'move', 'rival'])

/** Plans the faults of a run by its seed. Returns when they are over; `mend` ends those that last. */
export function planFaults(world: SimWorld): { readonly endMs: number; readonly mend: () => void } {
  if (world.scenarios.has('ages')) {
    world.timeline.after(FIRST_MS, () => takeOverOften(world))
    return { endMs: FIRST_MS + TAKING_OVER_MS, mend: () => world.network.heal() }
  }
  const { random, checker, settings, timeline } = world
  checker.planned = random.hit(0.3)
  const isEarly = random.hit(EARLY_SHARE)
  const lateMs = settings.unplanned.length === 0 ? FIRST_MS : FIRST_MS + COPIED_MS
  const firstMs = isEarly && settings.unplanned.length === 0 ? EARLY_MS : lateMs
  if (world.scenarios.has('unborn'))
    timeline.after(EARLY_MS, () => random.pick(Object.values(checker.planned ? BEFORE_HOLD_KILLS : BEFORE_HOLD))(world))
  for (let left = world.scenarios.has('changes') ? random.whole(1, CHANGES_MOST) : 0; left > 0; left--)
    timeline.after(random.between(EARLY_MS, FIRST_MS + STRETCH_MOST_MS), () =>
      changeIdle(world, random.pick(world.machines())),
    )
  if (world.scenarios.has('forged'))
    timeline.after(random.between(EARLY_MS, FORGED_LATEST_MS), () => leaveForged(world))
  if (!checker.planned && random.hit(settings.setBack)) {
    checker.setBack = true
    const atMs = FIRST_MS + random.between(10_000, 40_000)
    timeline.after(atMs, () => setBack(world))
  }
  const scenarios = { ...PLANNED_FAULTS, ...KILLS, ...UNPLANNED_FAULTS, ...CUT_OFFS, ...TAMPERING }
  // A run with few kinds of faults goes deeper into them than one with all.
  const some = (from: Faults) => {
    const names = Object.keys(from).flatMap((name) => (OFTEN.has(name) ? [name, name, name] : [name]))
    return random.hit(0.5) ? names : random.shuffle(names).slice(0, 2)
  }
  const mild = some({ ...PLANNED_FAULTS, ...KILLS })
  const drawn = some({ ...UNPLANNED_FAULTS, ...CUT_OFFS })
  const hard = settings.unplanned.length === 0 ? drawn : settings.unplanned
  if (settings.tampering) mild.push('tampering', 'move')
  const stretchMs = random.between(STRETCH_LEAST_MS, STRETCH_MOST_MS)
  planActions(world, firstMs, stretchMs)
  const ends = new Set<() => void>()
  let atMs = firstMs
  for (let left = random.whole(FAULTS_LEAST, FAULTS_MOST); left > 0; left--) {
    // Two faults at the same time find more than one after the other.
    if (!random.hit(0.3)) atMs = random.between(firstMs, firstMs + stretchMs)
    const unplanned = !checker.planned && random.hit(UNPLANNED_SHARE)
    const beginMs = atMs + random.between(0, 2_000)
    timeline.after(beginMs, () => strike(world, random.pick(unplanned ? hard : mild), scenarios, ends))
    // Swarm notices later than a lease expires. A rival that wants the volume at once tests the margins.
    if (unplanned && random.hit(settings.rivals))
      timeline.after(beginMs + random.between(0, 15_000), () => strike(world, 'rival', scenarios, ends))
  }
  if (random.hit(BROKEN_SHARE)) {
    const name = checker.planned ? 'odd tree' : random.pick(BROKEN)
    timeline.after(random.between(0, FIRST_MS), () => strike(world, name, scenarios, ends))
  }
  const mend = () => {
    for (const end of [...ends]) end()
    for (const machine of world.machines()) if (!machine.on) machine.boot()
    world.network.heal()
  }
  return { endMs: firstMs + stretchMs + random.between(0, AFTER_LAST_MOST_MS), mend }
}

function strike(world: SimWorld, name: string, scenarios: Faults, ends: Set<() => void>): void {
  const machine = target(world)
  world.trace(machine.host, `FAULT: ${name}`)
  const undo = scenarios[name]?.(world, machine) ?? null
  world.network.onChange()
  if (undo === null) return
  const end = () => {
    if (!ends.delete(end)) return
    world.trace(machine.host, `FAULT over: ${name}`)
    undo()
  }
  ends.add(end)
  // Most faults are short; the others outlast leases and Swarm's patience.
  const ms = world.random.hit(0.3) ? world.random.between(200, 12_000) : world.random.between(15_000, 50_000)
  world.timeline.after(ms, end)
}

/** The registry is set back to an earlier state: an operator has restored the disks of its servers. */
function setBack(world: SimWorld): void {
  world.trace('-', 'FAULT: the registry is set back')
  world.registry.volumes.setBack(world.timeline.nowMs - world.random.between(5_000, 30_000))
}

function target(world: SimWorld): Machine {
  const nodes = world.swarm.services.flatMap(({ task }) => (task === null ? [] : [task.node]))
  const among = nodes.length > 0 && world.random.hit(AT_HOLDER) ? nodes : world.hosts
  return world.machine(world.random.pick(among))
}
