import { type Faults, promoteSoon } from './fault.ts'

const HOUR_MS = 3_600_000
const RISK_LOOK_MS = 250

/** Faults that may cost no lease and no data. */
export const PLANNED_FAULTS: Faults = {
  move: (world) => {
    world.swarm.replace(world.random.pick(world.volumes))
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
  'other version': ({ scenarios, trace }, machine) => {
    if (!scenarios.has('versions')) return null
    machine.newer = !machine.newer
    trace(machine.host, `runs the ${machine.newer ? 'newer' : 'older'} version from now on`)
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
    const volume = world.random.pick(world.volumes)
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
    disk.slowness = world.random.between(5, 100)
    return () => {
      disk.slowness = 1
    }
  },
  'clock jump': (world, { clocks }) => {
    clocks.wallOffsetMs += world.random.pick([-HOUR_MS, HOUR_MS])
    return null
  },
  'lost answers': (world) => {
    world.registry.lostAnswers = world.random.between(0.02, 0.3)
    return () => {
      world.registry.lostAnswers = 0
    }
  },
  'engine away': (world, machine) => {
    const { host, containers, disk, boots } = machine
    if (!machine.on || containers.away) return null
    containers.away = true
    const back = () => {
      // The engine of the next boot serves once it has found its containers.
      if (machine.boots === boots) containers.away = false
    }
    // An engine that does not reply cannot pause anything. Beside a lease that expires, or that is given up for a disk
    // that cannot be written, that is beyond what a fence can do.
    const look = () => {
      if (!containers.away || machine.boots !== boots) return
      if (!world.checker.liveness.renews(host) || disk.unwritable !== null) back()
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
    world.random.pick(world.registry.groups).stepDown()
    return null
  },
}
