import { type Container, canWrite } from './containers.ts'
import { type Faults, promoteSoon } from './fault.ts'
import type { Machine } from './machine.ts'
import type { SimWorld } from './world.ts'

const RESTART_MOST_MS = 3_000
/** Longer than the others wait before they end a lease. */
const STUCK_LEAST_MS = 15_000
const STUCK_MOST_MS = 24_000
const ELECTIONS_BEFORE_MS = 3_000

/** Faults that may cost a lease. */
export const UNPLANNED_FAULTS: Faults = {
  'power cut': (world, machine) => {
    machine.powerCut()
    world.checker.powerCut(machine.host)
    return () => {
      if (!machine.on) machine.boot()
    }
  },
  'agent does not start': (world, machine) => {
    machine.agentBroken = true
    if (world.random.hit(0.5)) machine.killPlugin()
    else machine.killAgent('fault')
    return () => {
      machine.agentBroken = false
      machine.startAgent()
    }
  },
  partition: (world) => {
    const side = new Set(world.hosts.filter(() => world.random.hit(0.5)))
    for (const a of side) for (const b of world.hosts) if (!side.has(b)) both(world, a, b)
    return healing(world)
  },
  isolation: (world, { host }) => {
    for (const other of world.hosts) if (other !== host) both(world, host, other)
    return healing(world)
  },
  'one-way cut': (world, { host }) => {
    const others = world.hosts.filter((other) => other !== host)
    const to = world.random.hit(0.5) ? others : [world.random.pick(others)]
    for (const other of to) {
      if (world.random.hit(0.5)) world.network.cut(host, other)
      else world.network.cut(other, host)
    }
    return healing(world)
  },
  trouble: (world) => {
    world.network.trouble = world.random.between(0.02, 0.3)
    return () => {
      world.network.trouble = 0
    }
  },
  'registry server stops': (world) => {
    const machine = world.machine(world.random.pick(world.registry.servers))
    machine.serverStopped = true
    world.registry.stopServer(machine.host)
    return () => {
      machine.serverStopped = false
      machine.startServer()
    }
  },
  'registry stops': (world) => stopRegistry(world),
  'registry made anew': (world) => (world.scenarios.has('wipe') ? null : world.registry.makeAnew()),
  // A release gets no further than its scan of the tree, and a Mount is served from the hold.
  'restart in an outage': (world, machine) => {
    const { docker, containers, boots } = machine
    const mend = stopRegistry(world)
    let started: Container | null = null
    let over = false
    machine.later(world.random.between(0, RESTART_MOST_MS), () => {
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
  // A new agent has only the watchdog to tell it what is held. A lost registry is recovered without that.
  'unreadable records': (world, machine) => {
    const { disk } = machine
    if (world.scenarios.has('wipe')) return null
    for (const { record } of disk.shelves.values()) if (record.held !== null) disk.unreadable.add(record.id)
    machine.killAgent('fault')
    return () => disk.unreadable.clear()
  },
  // Another host ends its lease, takes a volume over and releases it. Then each stream elects in its own time.
  'elections after a lost lease': (world, machine) => {
    const { random, registry } = world
    const stuckMs = random.between(STUCK_LEAST_MS, STUCK_MOST_MS)
    const volume = machine.containers.all.find((one) => one.alive)?.volume ?? random.pick(world.volumes)
    const started: [Machine, Container][] = []
    let over = false
    const start = (on: Machine) => {
      if (over || !on.on || on.containers.away || registry.record(volume) === null) return
      started.push([on, on.docker.start(`late${world.newId().slice(-3)}-${volume}`, volume, () => undefined)])
    }
    machine.agent?.process.stick(stuckMs)
    start(random.pick(world.machines()))
    machine.later(stuckMs - random.between(0, ELECTIONS_BEFORE_MS), () => {
      for (const group of registry.groups) group.stepDown()
      for (const [on, container] of started)
        if (on.on && !on.containers.away) on.docker.stop(container, () => undefined)
      start(machine)
      start(random.pick(world.machines()))
    })
    return () => {
      over = true
      for (const [on, container] of started) if (on.on) on.docker.stop(container, () => undefined)
    }
  },
  'agent stuck': (world, { agent }) => {
    if (agent?.process.alive) agent.process.stick(world.random.between(1_000, 30_000))
    return null
  },
}

/** Stops all registry servers; returns what starts them again. */
function stopRegistry(world: SimWorld): () => void {
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

function both(world: SimWorld, a: string, b: string): void {
  world.network.cut(a, b)
  world.network.cut(b, a)
}

function healing(world: SimWorld): () => void {
  return () => world.network.heal()
}
