import type { VolumeRecord } from '../../model/model.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import { reportDamaged } from '../record/report-copy.ts'
import { TELL_NODES_EVERY_MS } from '../swarm/node-facts.ts'
import { placementHosts } from './hosts.ts'
import { joinRecord } from './membership.ts'
import type { PlacementMemory } from './memory.ts'
import { hasSpace, isFull, type PlacementHost } from './placement-host.ts'
import { placeCopies } from './policy.ts'
import { dropSurplus } from './surplus.ts'

/** How often every volume is judged: changes and copies here are judged at each scan. */
const SWEEP_EVERY_MS = 60_000
/** Volumes judged without a pause. */
const VOLUMES_AT_ONCE = 100

/**
 * Does this host's part of placing copies: takes those it should have, drops surplus ones.
 * Every host does the same by the same records. Each step is a compare-and-set that checks again, so two hosts never
 * both take or both drop the same copy.
 */
export async function reconcilePlacement(
  context: Pick<
    Context,
    | 'dependencies'
    | 'hosts'
    | 'locks'
    | 'copyManager'
    | 'catchUp'
    | 'treeChecks'
    | 'node'
    | 'pendingMounts'
    | 'placementDue'
  >,
  memory: PlacementMemory,
): Promise<void> {
  const { store, self, clock, signal } = context.dependencies
  // A host that was cut off would see all others as gone, until it has heard of them again.
  if (!context.hosts.alive(self.id)) return
  const locals = new Map((await store.copies()).copies.map((copy) => [copy.id, copy]))
  const records = await dueRecords(context, memory, [...locals.values()])
  const hosts = placementHosts(context, memory.coming)
  const failures: unknown[] = []
  for (const [nth, record] of records.entries()) {
    // Among many volumes other work has its turn.
    if (nth % VOLUMES_AT_ONCE === VOLUMES_AT_ONCE - 1) await clock.sleep(0, signal)
    const local = locals.get(record.id) ?? null
    // The registry has lost changes, or this was a stale read: nothing is decided on such a record.
    if (local !== null && local.epochSeen > record.epoch) continue
    const wanted = placeCopies(record, hosts)
    if (lacksCopies(record, wanted)) memory.lacking.add(record.name)
    if (record.holder?.host === self.id) memory.surplus.delete(record.id)
    else {
      const placed = wanted.includes(self.id)
        ? takeCopy(context, record, local, hosts, memory)
        : dropSurplus(context, record, local, hosts, memory)
      // One volume that cannot be placed must not keep the others from it.
      await placed.catch((error: unknown) => failures.push(error))
    }
  }
  if (failures.length > 0) throw failures[0]
}

/**
 * Returns the records to judge now.
 * All of them, if a host came, went or filled up, and from time to time. Else those of copies here, those that have
 * changed, and those that lacked copies.
 */
async function dueRecords(
  context: Pick<Context, 'dependencies' | 'hosts' | 'node' | 'placementDue'>,
  memory: PlacementMemory,
  locals: readonly LocalCopy[],
): Promise<VolumeRecord[]> {
  const { placementDue } = context
  const { registry, clock } = context.dependencies
  const nowMs = clock.elapsedMs()
  const hosts = describeHosts(placementHosts(context, memory.coming))
  if (nowMs >= placementDue.sweepMs || hosts !== memory.hosts) {
    const records = (await registry.followedVolumes()).flatMap(({ value }) => (value.removedAt === null ? [value] : []))
    placementDue.sweepMs = nowMs + SWEEP_EVERY_MS
    memory.hosts = hosts
    placementDue.changed.clear()
    memory.lacking.clear()
    forget(memory, records)
    for (const record of records) memory.coming.note(record.name, record)
    return records
  }
  const names = new Set([...placementDue.changed, ...memory.lacking, ...locals.map(({ name }) => name)])
  const records: VolumeRecord[] = []
  for (const name of names) {
    const record = (await registry.followedVolume(name))?.value
    const isThere = record !== undefined && record.removedAt === null
    memory.coming.note(name, isThere ? record : null)
    if (isThere) records.push(record)
  }
  placementDue.changed.clear()
  memory.lacking.clear()
  return records
}

/** What of the hosts may change the place of many volumes. */
function describeHosts(hosts: readonly PlacementHost[]): string {
  return JSON.stringify(
    hosts.map((host) => [host.id, host.zone, host.draining, host.gone, isFull(host), hasSpace(host)]),
  )
}

/** Whether a host should have a copy that it has not. If no host can take one, that changes with the hosts. */
function lacksCopies({ holder, last, copies }: VolumeRecord, wanted: readonly string[]): boolean {
  const isUnused = holder === null && last === null
  return !isUnused && wanted.some((host) => copies[host]?.kept !== true)
}

function forget(memory: PlacementMemory, records: readonly VolumeRecord[]): void {
  memory.coming.keep(new Set(records.map(({ name }) => name)))
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
