import type { LocalCopy } from '../../agent/store/contract.ts'
import type { Machine } from './machine.ts'
import type { SimWorld } from './world.ts'

/** A release takes about so long: a kill may come at any of its steps. */
const RELEASE_MS = 600
/** Time between the intention of a hold on the disk and its write to the registry. */
const INTENTION_MS = 30
const CUT_LEAST_MS = 1_000
const CUT_MOST_MS = 20_000

type Moment = (before: LocalCopy, after: LocalCopy) => boolean

const isIntended: Moment = (before, after) =>
  before.held === null && after.held !== null && after.epochSeen < after.held.epoch
const isReleasing: Moment = (before, after) =>
  after.held !== null && Object.keys(before.mounts).length > 0 && Object.keys(after.mounts).length === 0

/** Waits for the moment on any host, then calls `strike` there within `withinMs`. Returns what cancels that. */
function when(world: SimWorld, moment: Moment, withinMs: number, strike: (machine: Machine) => void): () => void {
  const machines = world.machines()
  const disarm = () => {
    for (const { disk } of machines) disk.trap = null
  }
  for (const machine of machines) {
    machine.disk.trap = (before, after) => {
      if (!moment(before, after)) return
      disarm()
      machine.later(world.random.between(0, withinMs), () => strike(machine))
    }
  }
  return disarm
}

function cutOff(world: SimWorld, { host }: Machine): void {
  world.trace(host, 'is cut off')
  for (const other of world.hosts) {
    if (other === host) continue
    world.network.cut(host, other)
    world.network.cut(other, host)
  }
  world.network.onChange()
  world.timeline.after(world.random.between(CUT_LEAST_MS, CUT_MOST_MS), () => world.network.heal())
}

type CutOff = (world: SimWorld) => (() => void) | null

/** Faults between the intention of a hold and its write. */
export const BEFORE_HOLD_KILLS: Readonly<Record<string, CutOff>> = {
  'killed before a hold': (world) =>
    when(world, isIntended, INTENTION_MS, (machine) => machine.killAgent('before its hold arrived')),
}
export const BEFORE_HOLD: Readonly<Record<string, CutOff>> = {
  ...BEFORE_HOLD_KILLS,
  'cut off before a hold': (world) => when(world, isIntended, INTENTION_MS, (machine) => cutOff(world, machine)),
}

/** Faults between two steps that cost no data. */
export const KILLS: Readonly<Record<string, CutOff>> = {
  ...BEFORE_HOLD_KILLS,
  'killed in a release': (world) =>
    when(world, isReleasing, RELEASE_MS, (machine) => machine.killAgent('while it released')),
}

/** Faults between two steps that may cost a lease. */
export const CUT_OFFS: Readonly<Record<string, CutOff>> = {
  ...BEFORE_HOLD,
  'cut off in a release': (world) => when(world, isReleasing, RELEASE_MS, (machine) => cutOff(world, machine)),
  'power cut in a release': (world) =>
    when(world, isReleasing, RELEASE_MS, (machine) => {
      machine.powerCut()
      world.checker.powerCut(machine.host)
      world.timeline.after(world.random.between(CUT_LEAST_MS, CUT_MOST_MS), () => {
        if (!machine.on) machine.boot()
      })
    }),
}
