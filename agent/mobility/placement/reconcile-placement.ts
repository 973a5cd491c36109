import type { VolumeRecord } from '../../model/model.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import { reportDamaged } from '../record/report-copy.ts'
import { TELL_NODES_EVERY_MS } from '../swarm/node-facts.ts'
import { placementHosts } from './hosts.ts'
import { joinRecord } from './membership.ts'
import type { PlacementMemory } from './memory.ts'
import { type PlacementHost, placeCopies } from './policy.ts'
import { dropSurplus } from './surplus.ts'

/**
 * Does this host's part of placing copies: takes those it should have, drops surplus ones.
 * Every host does the same by the same records. Each step is a compare-and-set that checks again, so two hosts never
 * both take or both drop the same copy.
 */
export async function reconcilePlacement(
  context: Pick<
    Context,
    'dependencies' | 'hosts' | 'locks' | 'copyManager' | 'catchUp' | 'treeChecks' | 'node' | 'pendingMounts'
  >,
  memory: PlacementMemory,
): Promise<void> {
  const { cache, store, self } = context.dependencies
  // A host that was cut off would see all others as gone, until it has heard of them again.
  if (!context.hosts.alive(self.id)) return
  const { entries, stale } = await cache.list()
  if (stale) return
  const records = entries.map(({ value }) => value).filter(({ removedAt }) => removedAt === null)
  const hosts = placementHosts(context, records)
  const locals = new Map((await store.copies()).copies.map((copy) => [copy.id, copy]))
  forget(memory, records)
  const failures: unknown[] = []
  for (const record of records) {
    const local = locals.get(record.id) ?? null
    // The registry has lost changes, or this was a stale read: nothing is decided on such a record.
    if (local !== null && local.epochSeen > record.epoch) continue
    if (record.holder?.host === self.id) memory.surplus.delete(record.id)
    else {
      const placed = placeCopies(record, hosts).includes(self.id)
        ? takeCopy(context, record, local, hosts, memory)
        : dropSurplus(context, record, local, hosts, memory)
      // One volume that cannot be placed must not keep the others from it.
      await placed.catch((error: unknown) => failures.push(error))
    }
  }
  if (failures.length > 0) throw failures[0]
}

function forget(memory: PlacementMemory, records: readonly VolumeRecord[]): void {
  const ids = new Set(records.map(({ id }) => id))
  for (const known of [memory.surplus, memory.compared]) {
    for (const id of known.keys()) if (!ids.has(id)) known.delete(id)
  }
}

async function takeCopy(
  context: Pick<Context, 'dependencies' | 'locks' | 'catchUp' | 'node'>,
  record: VolumeRecord,
  local: LocalCopy | null,
  hosts: readonly PlacementHost[],
  memory: PlacementMemory,
): Promise<void> {
  const { dependencies } = context
  memory.surplus.delete(record.id)
  // It was never used: there is nothing to copy.
  if (record.holder === null && record.last === null) return
  const mine = record.copies[dependencies.self.id]
  if (mine?.state === 'current' && local === null) await reportDamaged(dependencies, record)
  if (mine?.kept !== true) {
    // Right after a start a drained host does not know yet that it is drained.
    const upMs = dependencies.clock.elapsedMs() - memory.startedMs
    if (context.node.swarmNode !== null && upMs < TELL_NODES_EVERY_MS) return
    if (!(await joinRecord(context, record, local, hosts))) return
  }
  // While it is held, the holder's checkpoints bring the data.
  if (record.holder === null && mine?.state !== 'current') context.catchUp.note(record.name)
}
