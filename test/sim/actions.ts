import type { Kind } from './scenarios.ts'
import type { World } from './world.ts'

/** A person waits for a promotion's chance: most faults that cost a lease have begun by then. */
const PROMOTE_LATEST_MS = 50_000
/** How long a registry that came back empty stays so before somebody notices. */
const UNNOTICED_LEAST_MS = 3_000
const UNNOTICED_MOST_MS = 30_000
/** Clean-ups in a row. */
const CLEANUPS = 10
const CLEANUP_LEAST_MS = 200
const CLEANUP_MOST_MS = 6_000
/** A live migration, a snapshot with memory, a storage that hangs. */
const STILL_LEAST_MS = 1_000
const STILL_MOST_MS = 60_000
/** Of the hosts that a person drains so many are wanted again. */
const DRAINED_BACK = 0.5

type Deed = (world: World) => void

function promote(world: World): void {
  const { chance, people, timeline, volumes } = world
  timeline.after(chance.between(0, PROMOTE_LATEST_MS), () => people.promote(chance.pick(volumes)))
}

/** A clean-up of some host every few seconds, so that some come between two tasks of a service. */
function cleanUp(world: World, left: number): void {
  const { chance, people, timeline, volumes, hosts } = world
  people.cleanUp(chance.pick(hosts), chance.pick(volumes))
  if (left > 1) timeline.after(chance.between(CLEANUP_LEAST_MS, CLEANUP_MOST_MS), () => cleanUp(world, left - 1))
}

const DEEDS: Partial<Readonly<Record<Kind, Deed>>> = {
  drains: ({ chance, hosts, machine, people }) => {
    const stay = hosts.filter((host) => !machine(host).drainWish)
    if (stay.length > 1) people.drain(chance.pick(stay), chance.hit(DRAINED_BACK))
  },
  removals: ({ chance, people, volumes }) => people.remove(chance.pick(volumes)),
  cleanups: (world) => cleanUp(world, CLEANUPS),
  manual: promote,
  continue: promote,
  pauses: ({ chance, people, hosts, swarm }) => {
    const nodes = swarm.services.flatMap(({ task }) => task?.node ?? [])
    people.pause(chance.pick(nodes.length > 0 ? nodes : hosts))
  },
  execs: ({ chance, people, hosts, timeline }) => {
    for (let left = EXECS; left > 0; left--) timeline.after(left * EXEC_EVERY_MS, () => people.exec(chance.pick(hosts)))
  },
  stops: (world) => {
    const { chance, checker, hosts, machine, swarm, timeline } = world
    if (checker.planned) return
    const nodes = swarm.services.flatMap(({ task }) => task?.node ?? [])
    const goOn = machine(chance.pick(nodes.length > 0 && chance.hit(0.8) ? nodes : hosts)).standStill()
    if (goOn !== null) timeline.after(chance.between(STILL_LEAST_MS, STILL_MOST_MS), goOn)
  },
  wipe: (world) => {
    if (world.checker.wiped) return
    world.checker.wiped = true
    world.trace('-', 'FAULT: the registry comes back empty')
    world.registry.wipe()
    const ms = world.chance.between(UNNOTICED_LEAST_MS, UNNOTICED_MOST_MS)
    world.timeline.after(ms, () => world.people.recover())
  },
}

/** Commands come in a row, as of health checks. */
const EXECS = 200
const EXEC_EVERY_MS = 50

/** Deeds of a kind per run, at most. */
const DEEDS_MOST = 3

/** Plans what people do in a run, somewhere in the given stretch. */
export function planDeeds(world: World, fromMs: number, stretchMs: number): void {
  const { chance, kinds, timeline } = world
  for (const kind of kinds) {
    const deed = DEEDS[kind]
    if (deed === undefined) continue
    for (let left = chance.whole(1, DEEDS_MOST); left > 0; left--)
      timeline.after(fromMs + chance.between(0, stretchMs), () => deed(world))
  }
}
