import { planDeeds } from './actions.ts'
import { type Container, canWrite } from './containers.ts'
import { BEFORE_HOLD, BEFORE_HOLD_KILLS, CUT_OFFS, KILLS } from './cut-offs.ts'
import { AGING_MS, age, leaveForged } from './history.ts'
import type { Machine } from './machine.ts'
import type { World } from './world.ts'

/**
 * Faults come in this stretch of a run: before that the services start and get their first copies; or from the very
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
const RESTART_MOST_MS = 3_000
/** By then each volume has its copies: what strikes alone strikes after that. */
const COPIED_MS = 45_000
/** What a fault leads to takes its time: leases, Swarm's patience, a take-over. */
const AFTER_LAST_MOST_MS = 50_000
/** Faults strike where a service runs more often than elsewhere. */
const AT_HOLDER = 0.75
/** In a world with unplanned faults so many of all are such. */
const UNPLANNED_SHARE = 0.7
const HOUR_MS = 3_600_000
/** Some hosts have been in trouble from the first moment on. */
const BROKEN_SHARE = 0.05
const BROKEN = ['odd tree', 'read-only disk']

type Fault = (world: World, machine: Machine) => (() => void) | null

/** Begins a fault on a host; answers what ends it, null when there is nothing to end. */
const PLANNED: Readonly<Record<string, Fault>> = {
  move: (world) => {
    world.swarm.replace(world.chance.pick(world.volumes))
    return null
  },
  'move again': (world) => {
    for (const volume of world.volumes) world.swarm.replace(volume)
    return null
  },
  drain: (world, { host }) => {
    world.swarm.drain(host, true)
    return () => world.swarm.drain(host, false)
  },
  'kill agent': (_world, machine) => {
    machine.killAgent('fault')
    return null
  },
  'kill plugin': (_world, machine) => {
    machine.killPlugin()
    return null
  },
  'docker cp': (_world, machine) => {
    const running = machine.containers.all.find((one) => one.alive)
    if (running !== undefined) machine.docker.copyOut(running)
    return null
  },
  rival: (world, { docker, host, on, containers }) => {
    if (!on || containers.away) return null
    const volume = world.chance.pick(world.volumes)
    if (world.registry.record(volume) === null) return null
    const container = docker.start(`rival${world.newId().slice(-3)}-${volume}`, volume, () => undefined)
    return () => {
      if (world.machine(host).on) docker.stop(container, () => undefined)
    }
  },
  'container exits': (_world, machine) => {
    const running = machine.containers.all.find((one) => one.alive)
    if (running !== undefined) machine.docker.kill(running)
    return null
  },
  'slow disk': (world, { disk }) => {
    disk.slowness = world.chance.between(5, 100)
    return () => {
      disk.slowness = 1
    }
  },
  'clock jump': (world, { clocks }) => {
    clocks.wallOffsetMs += world.chance.pick([-HOUR_MS, HOUR_MS])
    return null
  },
  'lost answers': (world) => {
    world.registry.lostAnswers = world.chance.between(0.02, 0.3)
    return () => {
      world.registry.lostAnswers = 0
    }
  },
  'engine away': (world, machine) => {
    const { host, containers, boots } = machine
    if (!machine.on || containers.away) return null
    containers.away = true
    const back = () => {
      // The engine of the next boot is there when it has found its containers.
      if (machine.boots === boots) containers.away = false
    }
    // An engine that does not answer cannot pause anything: beside a lease that ends that is beyond what a fence can do.
    const look = () => {
      if (!containers.away || machine.boots !== boots) return
      if (!world.checker.vigil.renews(host)) back()
      else world.timeline.after(RISK_LOOK_MS, look, true)
    }
    look()
    return back
  },
  'odd tree': (world, { disk }) => {
    for (const id of disk.shelves.keys()) disk.unsupported.add(id)
    promoteSoon(world)
    return () => disk.unsupported.clear()
  },
  election: (world) => {
    world.chance.pick(world.registry.groups).stepDown()
    return null
  },
}

const UNPLANNED: Readonly<Record<string, Fault>> = {
  'power cut': (world, machine) => {
    machine.powerCut()
    world.checker.powerCut(machine.host)
    return () => {
      if (!machine.on) machine.boot()
    }
  },
  'agent does not start': (world, machine) => {
    machine.agentBroken = true
    if (world.chance.hit(0.5)) machine.killPlugin()
    else machine.killAgent('fault')
    return () => {
      machine.agentBroken = false
      machine.startAgent()
    }
  },
  partition: (world) => {
    const side = new Set(world.hosts.filter(() => world.chance.hit(0.5)))
    for (const a of side) for (const b of world.hosts) if (!side.has(b)) both(world, a, b)
    return healing(world)
  },
  isolation: (world, { host }) => {
    for (const other of world.hosts) if (other !== host) both(world, host, other)
    return healing(world)
  },
  'one-way cut': (world, { host }) => {
    const others = world.hosts.filter((other) => other !== host)
    const to = world.chance.hit(0.5) ? others : [world.chance.pick(others)]
    for (const other of to) {
      if (world.chance.hit(0.5)) world.network.cut(host, other)
      else world.network.cut(other, host)
    }
    return healing(world)
  },
  trouble: (world) => {
    world.network.trouble = world.chance.between(0.02, 0.3)
    return () => {
      world.network.trouble = 0
    }
  },
  'registry server stops': (world) => {
    const machine = world.machine(world.chance.pick(world.registry.servers))
    machine.serverStopped = true
    world.registry.stopServer(machine.host)
    return () => {
      machine.serverStopped = false
      machine.startServer()
    }
  },
  'registry stops': (world) => stopRegistry(world),
  // A release that gets no further than its look at the tree, and a Mount that is answered from the hold.
  'restart in an outage': (world, machine) => {
    const { docker, containers, boots } = machine
    const mend = stopRegistry(world)
    let started: Container | null = null
    let over = false
    machine.later(world.chance.between(0, RESTART_MOST_MS), () => {
      const running = containers.all.find((one) => one.alive && canWrite(one))
      if (over || running === undefined || containers.away) return
      docker.kill(running)
      started = docker.start(`again${world.newId().slice(-3)}-${running.volume}`, running.volume, () => undefined)
    })
    return () => {
      over = true
      mend()
      if (started !== null && machine.boots === boots) docker.stop(started, () => undefined)
    }
  },
  'full disk': (_world, { disk }) => {
    disk.full = true
    return () => {
      disk.full = false
    }
  },
  'read-only disk': (world, { disk }) => {
    disk.unwritable = 'EROFS'
    promoteSoon(world)
    return () => {
      disk.unwritable = null
    }
  },
  // A new agent has only the watchdog's word for what is held. A registry that was lost as well is recovered without it.
  'unreadable records': (world, machine) => {
    const { disk } = machine
    if (world.kinds.has('wipe')) return null
    for (const { record } of disk.shelves.values()) if (record.held !== null) disk.unreadable.add(record.id)
    machine.killAgent('fault')
    return () => disk.unreadable.clear()
  },
  'agent stuck': (world, { agent }) => {
    if (agent?.life.alive) agent.life.stick(world.chance.between(1_000, 30_000))
    return null
  },
}

/** Stops all its servers; answers what starts them again. */
function stopRegistry(world: World): () => void {
  for (const host of world.registry.servers) {
    world.machine(host).serverStopped = true
    world.registry.stopServer(host)
  }
  return () => {
    for (const host of world.registry.servers) {
      world.machine(host).serverStopped = false
      world.machine(host).startServer()
    }
  }
}

const RISK_LOOK_MS = 250

/** A person who cannot have a volume where it is needed lets it go on without its holder. */
function promoteSoon(world: World): void {
  const { chance, checker, people, timeline, volumes } = world
  if (checker.planned || chance.hit(0.5)) return
  const volume = chance.pick(volumes)
  world.swarm.replace(volume)
  timeline.after(chance.between(0, 20_000), () => people.promote(volume))
}

/** What take-overs come from. */
const OFTEN = new Set(['power cut', 'isolation', 'partition', 'agent does not start', 'agent stuck', 'move', 'rival'])

/** Files of a copy that nobody uses are changed behind Wherry's back; only where a broken rule is to be found out by it. */
const TAMPERING: Readonly<Record<string, Fault>> = {
  tampering: (_world, machine) => {
    for (const shelf of machine.disk.shelves.values()) {
      if (shelf.record.held === null && shelf.tree.before !== null) shelf.tree = shelf.tree.before
    }
    return null
  },
}

const CHANGES_MOST = 4
const CHANGED_MOST_MS = 60_000

/** Somebody takes the last record out of copies of a host that nobody uses; later he puts it back and has the copy read again. */
function changeIdle(world: World, machine: Machine): void {
  const { chance, people, timeline, trace } = world
  for (const shelf of machine.disk.shelves.values()) {
    const { tree, record } = shelf
    if (record.held !== null || record.checkpoint?.hash !== tree.hash || tree.before === null) continue
    trace(machine.host, `FAULT: somebody changes the idle copy of ${record.name}`)
    const changed = tree.before
    shelf.tree = changed
    people.busy++
    timeline.after(chance.between(500, CHANGED_MOST_MS), () => {
      people.busy--
      if (
        machine.disk.shelf(record.id) !== shelf ||
        shelf.tree !== changed ||
        shelf.record.checkpoint?.hash !== tree.hash
      )
        return
      trace(machine.host, `somebody undoes his change of ${record.name}`)
      shelf.tree = tree
      people.verify(machine.host, record.name)
    })
  }
}

/** Plans the faults of a run by its seed; answers when they are over. `mend` ends those that last. */
export function planFaults(world: World): { readonly endMs: number; readonly mend: () => void } {
  if (world.kinds.has('ages')) {
    world.timeline.after(FIRST_MS, () => age(world))
    return { endMs: FIRST_MS + AGING_MS, mend: () => world.network.heal() }
  }
  const { chance, checker, settings, timeline } = world
  checker.planned = chance.hit(0.3)
  const isEarly = chance.hit(EARLY_SHARE)
  const lateMs = settings.unplanned.length === 0 ? FIRST_MS : FIRST_MS + COPIED_MS
  const firstMs = isEarly && settings.unplanned.length === 0 ? EARLY_MS : lateMs
  if (world.kinds.has('unborn'))
    timeline.after(EARLY_MS, () => chance.pick(Object.values(checker.planned ? BEFORE_HOLD_KILLS : BEFORE_HOLD))(world))
  for (let left = world.kinds.has('changes') ? chance.whole(1, CHANGES_MOST) : 0; left > 0; left--)
    timeline.after(chance.between(EARLY_MS, FIRST_MS + STRETCH_MOST_MS), () =>
      changeIdle(world, chance.pick(world.machines())),
    )
  if (world.kinds.has('forged')) timeline.after(chance.between(EARLY_MS, FORGED_LATEST_MS), () => leaveForged(world))
  if (!checker.planned && chance.hit(settings.setBack)) {
    checker.setBack = true
    const atMs = FIRST_MS + chance.between(10_000, 40_000)
    timeline.after(atMs, () => setBack(world))
  }
  const kinds = { ...PLANNED, ...KILLS, ...UNPLANNED, ...CUT_OFFS, ...TAMPERING }
  // A run that is about few things goes deeper into them than one that is about everything.
  const some = (from: Readonly<Record<string, Fault>>) => {
    const names = Object.keys(from).flatMap((name) => (OFTEN.has(name) ? [name, name, name] : [name]))
    return chance.hit(0.5) ? names : chance.shuffle(names).slice(0, 2)
  }
  const mild = some({ ...PLANNED, ...KILLS })
  const drawn = some({ ...UNPLANNED, ...CUT_OFFS })
  const hard = settings.unplanned.length === 0 ? drawn : settings.unplanned
  if (settings.tampering) mild.push('tampering', 'move')
  const stretchMs = chance.between(STRETCH_LEAST_MS, STRETCH_MOST_MS)
  planDeeds(world, firstMs, stretchMs)
  const ends = new Set<() => void>()
  let atMs = firstMs
  for (let left = chance.whole(FAULTS_LEAST, FAULTS_MOST); left > 0; left--) {
    // Two at a time are worth more than one after the other.
    if (!chance.hit(0.3)) atMs = chance.between(firstMs, firstMs + stretchMs)
    const unplanned = !checker.planned && chance.hit(UNPLANNED_SHARE)
    const beginMs = atMs + chance.between(0, 2_000)
    timeline.after(beginMs, () => strike(world, chance.pick(unplanned ? hard : mild), kinds, ends))
    // Swarm alone takes longer to notice than a lease runs: somebody who wants the volume at once is what the margins are for.
    if (unplanned && chance.hit(settings.rivals))
      timeline.after(beginMs + chance.between(0, 15_000), () => strike(world, 'rival', kinds, ends))
  }
  if (chance.hit(BROKEN_SHARE)) {
    const name = checker.planned ? 'odd tree' : chance.pick(BROKEN)
    timeline.after(chance.between(0, FIRST_MS), () => strike(world, name, kinds, ends))
  }
  const mend = () => {
    for (const end of [...ends]) end()
    for (const machine of world.machines()) if (!machine.on) machine.boot()
    world.network.heal()
  }
  return { endMs: firstMs + stretchMs + chance.between(0, AFTER_LAST_MOST_MS), mend }
}

function strike(world: World, name: string, kinds: Readonly<Record<string, Fault>>, ends: Set<() => void>): void {
  const machine = target(world)
  world.trace(machine.host, `FAULT: ${name}`)
  const undo = kinds[name]?.(world, machine) ?? null
  world.network.onChange()
  if (undo === null) return
  const end = () => {
    if (!ends.delete(end)) return
    world.trace(machine.host, `FAULT over: ${name}`)
    undo()
  }
  ends.add(end)
  // Most are short; those that are not outlive leases and Swarm's patience.
  const ms = world.chance.hit(0.3) ? world.chance.between(200, 12_000) : world.chance.between(15_000, 50_000)
  world.timeline.after(ms, end)
}

/** The registry comes back with what it had some time ago: somebody has restored its servers' disks. */
function setBack(world: World): void {
  world.trace('-', 'FAULT: the registry is set back')
  world.registry.volumes.setBack(world.timeline.nowMs - world.chance.between(5_000, 30_000))
}

function target(world: World): Machine {
  const nodes = world.swarm.services.flatMap(({ task }) => (task === null ? [] : [task.node]))
  const among = nodes.length > 0 && world.chance.hit(AT_HOLDER) ? nodes : world.hosts
  return world.machine(world.chance.pick(among))
}

function both(world: World, a: string, b: string): void {
  world.network.cut(a, b)
  world.network.cut(b, a)
}

function healing(world: World): () => void {
  return () => world.network.heal()
}
