import type { Machine } from './machine.ts'
import type { World } from './world.ts'

/** Faults come in this stretch of a run; the first seconds are for the services to start. */
const FIRST_MS = 8_000
const STRETCH_LEAST_MS = 15_000
const STRETCH_MOST_MS = 50_000
const FAULTS_MOST = 6
const HOUR_MS = 3_600_000

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
  'engine away': (_world, { containers }) => {
    containers.away = true
    return () => {
      containers.away = false
    }
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
  'kill agent for long': (_world, machine) => {
    machine.killAgent('fault')
    return null
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
  'registry stops': (world) => {
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
  },
  'full disk': (_world, { disk }) => {
    disk.full = true
    return () => {
      disk.full = false
    }
  },
  'agent stuck': (world, { agent }) => {
    if (agent?.life.alive) agent.life.stick(world.chance.between(1_000, 30_000))
    return null
  },
}

/** Files of a copy that nobody uses are changed behind Wherry's back; only where a broken rule is to be found out by it. */
const TAMPERING: Readonly<Record<string, Fault>> = {
  tampering: (_world, machine) => {
    for (const shelf of machine.disk.shelves.values()) {
      if (shelf.record.held === null && shelf.tree.before !== null) shelf.tree = shelf.tree.before
    }
    return null
  },
}

/** Plans the faults of a run by its seed; answers when they are over. `mend` ends those that last. */
export function planFaults(world: World): { readonly endMs: number; readonly mend: () => void } {
  const { chance, checker, settings, timeline } = world
  checker.planned = chance.hit(0.3)
  const kinds = { ...PLANNED, ...(checker.planned ? {} : UNPLANNED), ...(settings.tampering ? TAMPERING : {}) }
  const names = Object.keys(kinds)
  // A run that is about few things goes deeper into them than one that is about everything.
  const focus = chance.hit(0.5) ? names : chance.shuffle(names).slice(0, 3)
  if (settings.tampering) focus.push('tampering', 'move')
  const stretchMs = chance.between(STRETCH_LEAST_MS, STRETCH_MOST_MS)
  const ends = new Set<() => void>()
  let atMs = 0
  for (let left = chance.whole(1, FAULTS_MOST); left > 0; left--) {
    // Two at a time are worth more than one after the other.
    if (!chance.hit(0.3)) atMs = chance.between(FIRST_MS, FIRST_MS + stretchMs)
    const begin = Math.max(FIRST_MS, atMs + chance.between(0, 2_000))
    timeline.after(begin, () => strike(world, chance.pick(focus), kinds, ends))
  }
  const mend = () => {
    for (const end of [...ends]) end()
    for (const machine of world.machines()) if (!machine.on) machine.boot()
    world.network.heal()
  }
  return { endMs: FIRST_MS + stretchMs, mend }
}

function strike(world: World, name: string, kinds: Readonly<Record<string, Fault>>, ends: Set<() => void>): void {
  const machine = world.machine(world.chance.pick(world.hosts))
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
  const ms = world.chance.hit(0.4) ? world.chance.between(200, 8_000) : world.chance.between(8_000, 40_000)
  world.timeline.after(ms, end)
}

function both(world: World, a: string, b: string): void {
  world.network.cut(a, b)
  world.network.cut(b, a)
}

function healing(world: World): () => void {
  return () => world.network.heal()
}
