import type { VolumeRecord } from '../../agent/model/model.ts'
import { checkpointTargetMs } from '../../agent/model/volume-options.ts'
import type { SimWorld } from './world.ts'

/** Returns why not all is well yet; null: it is. */
export function complaintOf(world: SimWorld): string | null {
  if (world.operators.busy > 0) return 'somebody is still at something'
  const late = world.swarm.complaint()
  if (late !== null) return late
  for (const name of world.volumes) {
    const complaint = world.swarm.isWanted(name) ? volumeComplaint(world, name) : null
    if (complaint !== null) return complaint
  }
  const leftOver = removedComplaint(world)
  if (leftOver !== null) return leftOver
  for (const { host, containers, notes } of world.machines()) {
    if (notes.size > 0) return `a pause is noted on ${host}`
    const paused = containers.all.find((one) => one.state === 'paused')
    if (paused !== undefined) return `${paused.id} on ${host} is paused`
  }
  return null
}

/** Checks that the volume is held where its task is, with copies and checkpoints as wanted. */
function volumeComplaint(world: SimWorld, name: string): string | null {
  const { registry, swarm, timeline, options, hosts } = world
  const record = registry.record(name)
  const node = swarm.services.find((service) => service.volume === name)?.task?.node
  if (record?.holder?.host !== node) return `${name} is held by ${record?.holder?.host}, its task is on ${node}`
  const places = hosts.filter((host) => host === node || !isDrained(world, host))
  const wanted = Math.min(options.copies, places.length)
  const left = record === null ? undefined : hosts.find((host) => isLeft(world, record, host, places))
  if (left !== undefined) return `${name} is still on ${left}, which is drained`
  const targetMs = checkpointTargetMs(options, false)
  if (wanted < 2 || targetMs === null) return null
  if (record === null || record.last === null) return `${name} has no checkpoint`
  const current = places.filter((host) => record.copies[host]?.state === 'current')
  if (current.length < wanted) return `${name} has ${current.length} current copies of ${wanted}`
  const ageMs = timeline.nowMs - world.checker.lastCheckpointMs(name)
  if (ageMs > 3 * targetMs + 5_000) return `the newest checkpoint of ${name} is ${Math.round(ageMs / 1000)} s old`
  return null
}

function isDrained({ machine, swarm }: SimWorld, host: string): boolean {
  return machine(host).drainFlag || swarm.isDrained(host)
}

/**
 * Whether a drained host still has a copy that could have left. A pre-seeded copy leaves some time later, and diverged
 * writes stay.
 */
function isLeft(
  { machine, options }: SimWorld,
  record: VolumeRecord,
  host: string,
  places: readonly string[],
): boolean {
  const copy = record.copies[host]
  const shelf = machine(host).disk.shelf(record.id)
  // Without checkpoints a copy leaves with the release.
  if (options.checkpointMs === null || places.length === 0 || places.includes(host) || copy === undefined) return false
  return (copy.kept || copy.state !== 'filling') && shelf !== undefined && shelf.diverged.size === 0
}

/** Checks that removed volumes are in every host's trash. */
function removedComplaint(world: SimWorld): string | null {
  for (const [id, truth] of world.checker.oracle.all) {
    if (!truth.isOver) continue
    const left = world.machines().find(({ disk }) => {
      const record = disk.shelf(id)?.record
      // Known: a hold without data that was intended just when the volume was removed stays. It blocks nothing.
      const isHeld = record !== undefined && record.held !== null && record.epochSeen >= record.held.epoch
      return record !== undefined && (record.checkpoint !== null || isHeld)
    })
    if (left !== undefined) return `${truth.name} was removed, and ${id} is still on ${left.host}`
  }
  return null
}
