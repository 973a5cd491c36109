import type { Machine } from './machine.ts'
import type { SimWorld } from './world.ts'

/** Begins a fault on a host; returns what ends it, null when there is nothing to end. */
export type Fault = (world: SimWorld, machine: Machine) => (() => void) | null
export type Faults = Readonly<Record<string, Fault>>

/** An operator who cannot have a volume where it is needed has it taken over. */
export function promoteSoon(world: SimWorld): void {
  const { random, checker, operators, timeline, volumes } = world
  if (checker.planned || random.hit(0.5)) return
  const volume = random.pick(volumes)
  world.swarm.replace(volume)
  timeline.after(random.between(0, 20_000), () => operators.promote(volume))
}
