import type { Predecessor, VolumeRecord } from '../../model/model.ts'
import type { Context } from '../context.ts'
import type { VolumeView } from '../volume-view.ts'
import type { Inventory } from './inventory.ts'

/**
 * Returns the newest removed volume of this name that hosts still have data of.
 * By their disks and by tombstones. Undefined: there is none. Rejects REGISTRY_UNAVAILABLE.
 */
export async function findPredecessor(
  context: Pick<Context, 'dependencies'>,
  name: string,
  inventories: readonly Inventory[],
): Promise<Predecessor | undefined> {
  const onDisk = inventories.flatMap(({ host, removed }) =>
    removed.filter((copy) => copy.name === name).map(({ id, until }) => ({ id, hosts: [host], until })),
  )
  const awaited = (await context.dependencies.registry.removed())
    .filter(({ value }) => value.name === name && value.hosts.length > 0)
    .map(({ value: { id, hosts } }) => ({ id, hosts, until: null }))
  const found = Map.groupBy([...onDisk, ...awaited], ({ id }) => id)
  // Ids are ULIDs: the later one is the greater.
  const id = [...found.keys()].sort().at(-1)
  const parts = id === undefined ? [] : (found.get(id) ?? [])
  if (id === undefined) return undefined
  const untils = parts.map(({ until }) => until)
  return {
    id,
    hosts: [...new Set(parts.flatMap(({ hosts }) => hosts))],
    until: untils.includes(null) ? null : (untils.sort().at(-1) ?? null),
  }
}

/**
 * Returns what is left of the volume that had this name before, for operators.
 * Null: nothing that is known.
 */
export function viewPredecessor(
  context: Pick<Context, 'dependencies' | 'hosts'>,
  { predecessor }: VolumeRecord,
): NonNullable<VolumeView['predecessor']> | null {
  if (predecessor === undefined) return null
  const { id, hosts, until } = predecessor
  if (until !== null && Date.parse(until) < context.dependencies.clock.now().getTime()) return null
  return { id, hosts: hosts.map((host) => context.hosts.nameOf(host)), until }
}
