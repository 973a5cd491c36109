import { basename } from 'node:path'
import type { WherryError } from '../../model/errors.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import { isForged, isOnlyIntended } from '../record/copies.ts'
import { forgottenData, unreadableData } from './errors.ts'
import { askableHosts, askInventory, type Inventory, takeInventory } from './inventory.ts'

/** Living hosts reply at once; one that does not must not hold up a creation. */
const ASK_MS = 3_000
/** A host that has not been heard of is most likely not there. */
const SILENT_ASK_MS = 500

/** Returns what this host's disk has, and the disks of the other hosts that reply in time. */
export async function allInventories(
  context: Pick<Context, 'dependencies' | 'hosts' | 'lease' | 'guardedVolumes' | 'confirmed'>,
  signal: AbortSignal,
): Promise<Inventory[]> {
  return [await takeInventory(context), ...(await askOthers(context, signal))]
}

/**
 * Finds data of another volume of this name that the registry has neither as a record nor as removed.
 * The registry has lost changes then, and the new volume would be mounted empty in place of that data (promise 2).
 * Returns VOLUME_EXISTS, or null when there is none. After a removal a stale read may find too much for a moment: ask
 * again before reporting it. Rejects REGISTRY_UNAVAILABLE.
 */
export async function findForgotten(
  context: Pick<Context, 'dependencies' | 'hosts'>,
  { id, name }: { id: string; name: string },
  inventories: readonly Inventory[],
): Promise<WherryError | null> {
  const found = inventories.flatMap(({ host, copies }) =>
    copies.filter((copy) => copy.name === name && copy.id !== id && hasData(copy)).map((copy) => ({ host, copy })),
  )
  const unreadable = inventories.flatMap(({ host, damaged }) =>
    damaged.filter((one) => one.name === name && basename(one.path) !== id).map((copy) => ({ host, copy })),
  )
  if (found.length + unreadable.length === 0) return null
  const removed = new Set((await context.dependencies.registry.removed()).map(({ value }) => value.id))
  const forgotten = found.find(({ copy }) => !removed.has(copy.id))
  if (forgotten !== undefined) return forgottenData(forgotten.copy, context.hosts.label(forgotten.host))
  const unread = unreadable.find(({ copy }) => !removed.has(basename(copy.path)))
  return unread === undefined ? null : unreadableData(name, unread.copy, context.hosts.label(unread.host))
}

/**
 * Whether a copy has data that could be lost.
 * Pre-seeded data does not count, nor does an intended hold that was never committed.
 */
function hasData(copy: LocalCopy): boolean {
  return (copy.checkpoint !== null && !isForged(copy)) || (copy.held !== null && !isOnlyIntended(copy))
}

/**
 * Asks also hosts without a heartbeat: a registry that has just come back empty knows no living host.
 * Those that do not reply are asked once more. A machine that stood still while it waited has missed replies, and its
 * clock does not show that.
 */
async function askOthers(
  context: Pick<Context, 'dependencies' | 'hosts' | 'lease'>,
  signal: AbortSignal,
): Promise<Inventory[]> {
  const { clock, log, seizeAfterMs } = context.dependencies
  // A host that has watched the heartbeats for long without a break has heard of every living host.
  const hearsAll = clock.elapsedMs() - context.lease.unbrokenSinceMs >= seizeAfterMs
  const inTime = AbortSignal.any([signal, clock.deadline(ASK_MS)])
  const atOnce = AbortSignal.any([signal, clock.deadline(SILENT_ASK_MS)])
  const first = await Promise.all(
    askableHosts(context).map(async (host) => {
      const until = host.alive || !hearsAll ? inTime : atOnce
      return { host, reply: await askInventory(context, host, until).catch(() => null) }
    }),
  )
  const again = AbortSignal.any([signal, clock.deadline(SILENT_ASK_MS)])
  const asked = first.map(async ({ host, reply }) => {
    try {
      return [reply ?? (await askInventory(context, host, again))]
    } catch (error) {
      log.debug({ err: error, host: host.label }, 'inventory of a host not received')
      return []
    }
  })
  return (await Promise.all(asked)).flat()
}
