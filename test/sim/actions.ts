import type { Scenario } from './scenarios.ts'
import type { SimWorld } from './world.ts'

/** An operator waits before a promotion: most faults that cost a lease have begun by then. */
const PROMOTE_LATEST_MS = 50_000
/** How long it takes until somebody notices that the registry came back empty. */
const UNNOTICED_LEAST_MS = 3_000
const UNNOTICED_MOST_MS = 30_000
/** Clean-ups in one series. */
const CLEANUPS = 10
const CLEANUP_LEAST_MS = 200
const CLEANUP_MOST_MS = 6_000
/** A live migration, a snapshot with memory, a storage that hangs. */
const STOPPED_LEAST_MS = 1_000
const STOPPED_MOST_MS = 60_000
/** Share of the drained hosts that are activated again. */
const DRAINED_BACK = 0.5

type Action = (world: SimWorld) => void

function promote(world: SimWorld): void {
  const { random, operators, timeline, volumes } = world
  timeline.after(random.between(0, PROMOTE_LATEST_MS), () => operators.promote(random.pick(volumes)))
}

/** Cleans up some host every few seconds, so that some clean-ups come between two tasks of a service. */
function cleanUp(world: SimWorld, left: number): void {
  const { random, operators, timeline, volumes, hosts } = world
  operators.cleanUp(random.pick(hosts), random.pick(volumes))
  if (left > 1) timeline.after(random.between(CLEANUP_LEAST_MS, CLEANUP_MOST_MS), () => cleanUp(world, left - 1))
}

const ACTIONS: Partial<Readonly<Record<Scenario, Action>>> = {
  drains: ({ random, hosts, machine, operators }) => {
    const stay = hosts.filter((host) => !machine(host).drainFlag)
    if (stay.length > 1) operators.drain(random.pick(stay), random.hit(DRAINED_BACK))
  },
  removals: ({ random, operators, volumes }) => operators.remove(random.pick(volumes)),
  cleanups: (world) => cleanUp(world, CLEANUPS),
  manual: promote,
  continue: promote,
  pauses: ({ random, operators, hosts, swarm }) => {
    const nodes = swarm.services.flatMap(({ task }) => task?.node ?? [])
    operators.pause(random.pick(nodes.length > 0 ? nodes : hosts))
  },
  execs: ({ random, operators, hosts, timeline }) => {
    for (let left = EXECS; left > 0; left--)
      timeline.after(left * EXEC_EVERY_MS, () => operators.exec(random.pick(hosts)))
  },
  stops: (world) => {
    const { random, checker, hosts, machine, swarm, timeline } = world
    if (checker.planned) return
    const nodes = swarm.services.flatMap(({ task }) => task?.node ?? [])
    const resume = machine(random.pick(nodes.length > 0 && random.hit(0.8) ? nodes : hosts)).stop()
    if (resume !== null) timeline.after(random.between(STOPPED_LEAST_MS, STOPPED_MOST_MS), resume)
  },
  hostile: ({ hostile }) => hostile?.strike(),
  wipe: (world) => {
    if (world.checker.wiped) return
    world.checker.wiped = true
    world.trace('-', 'FAULT: the registry comes back empty')
    world.registry.wipe()
    const ms = world.random.between(UNNOTICED_LEAST_MS, UNNOTICED_MOST_MS)
    world.timeline.after(ms, () => world.operators.recover())
  },
}

/** Commands come in a series, like health checks. */
const EXECS = 200
const EXEC_EVERY_MS = 50

/** Actions of one scenario in a run, at most. */
const ACTIONS_MOST = 3

/** Plans what operators do in a run, somewhere in the given stretch. */
export function planActions(world: SimWorld, fromMs: number, stretchMs: number): void {
  const { random, scenarios, timeline } = world
  for (const kind of scenarios) {
    const action = ACTIONS[kind]
    if (action === undefined) continue
    for (let left = random.whole(1, ACTIONS_MOST); left > 0; left--)
      timeline.after(fromMs + random.between(0, stretchMs), () => action(world))
  }
}
