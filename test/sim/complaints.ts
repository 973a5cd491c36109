import type { World } from './world.ts'

/** Why not all is well yet; null: it is. */
export function complaintOf(world: World): string | null {
  const late = world.swarm.complaint()
  if (late !== null) return late
  for (const name of world.volumes) {
    const complaint = volumeComplaint(world, name)
    if (complaint !== null) return complaint
  }
  for (const { host, containers, notes } of world.machines()) {
    if (notes.size > 0) return `a pause is noted on ${host}`
    const paused = containers.all.find((one) => one.state === 'paused')
    if (paused !== undefined) return `${paused.id} on ${host} is paused`
  }
  return null
}

/** Held where its task is, with copies and checkpoints as wanted. */
function volumeComplaint(world: World, name: string): string | null {
  const { registry, swarm, timeline, options, hosts } = world
  const record = registry.record(name)
  const node = swarm.services.find((service) => service.volume === name)?.task?.node
  if (record?.holder?.host !== node) return `${name} is held by ${record?.holder?.host}, its task is on ${node}`
  const wanted = Math.min(options.copies, hosts.length)
  if (wanted < 2 || options.checkpointMs === null) return null
  if (record === null || record.last === null) return `${name} has no checkpoint`
  const current = hosts.filter((host) => record.copies[host]?.state === 'current')
  if (current.length < wanted) return `${name} has ${current.length} current copies of ${wanted}`
  const ageMs = timeline.nowMs - world.checker.lastCheckpointMs(name)
  if (ageMs > 3 * options.checkpointMs + 5_000)
    return `the newest checkpoint of ${name} is ${Math.round(ageMs / 1000)} s old`
  return null
}
