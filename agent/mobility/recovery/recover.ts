import { basename } from 'node:path'
import { WherryError } from '../../model/errors.ts'
import type { DamagedCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import type { RecoverView } from '../contract.ts'
import { RETRY_MS } from '../record/update-record.ts'
import { RECONCILE } from '../wakeups.ts'
import { type AskableHost, askableHosts, askInventory, type Inventory, takeInventory } from './inventory.ts'
import { mergeRecord } from './merge-record.ts'
import { planVolume, type RecoverPlan } from './plan.ts'
import {
  damagedCopy,
  livingSilent,
  mostSilent,
  notWatchedYet,
  recordUnconfirmed,
  silentHost,
  unreadableCopy,
  unreadableRecord,
} from './problems.ts'

/** A host reads the records of all its copies for its reply; one that takes longer hangs. */
const REPLY_MS = 15_000
/** Bound of one volume's write; the next ones are tried all the same. */
const WRITE_MS = 10_000

interface Asked {
  readonly known: AskableHost
  readonly inventory: Inventory | null
  readonly why: string
}

/**
 * Rebuilds the records of a lost registry from the disks of all hosts that reply.
 * It writes the missing records, and those whose epoch is below what a disk has seen. It never lowers an epoch or
 * touches another record.
 * Nothing is written while a living host does not reply (it may be writing to a volume, and only it knows), while
 * this host cannot tell whether it is alive, or while half of the known hosts or more are silent (their disks may
 * have newer checkpoints). RecoverView.problems says so.
 * May be repeated; every record in `written` is durable on return. Rejects REGISTRY_UNAVAILABLE.
 */
export async function recoverRegistry(
  context: Pick<Context, 'dependencies' | 'hosts' | 'wakeups' | 'lease' | 'guardedVolumes' | 'confirmed'>,
  signal: AbortSignal,
): Promise<RecoverView> {
  const { registry, log } = context.dependencies
  const replies = await askAll(context, signal)
  const inventories = replies.flatMap(({ inventory }) => inventory ?? [])
  const silent = replies.filter(({ inventory }) => inventory === null)
  const problems = [
    ...silent.map(({ known, why }) => silentHost(known.label, why)),
    ...inventories.flatMap(({ host, damaged }) =>
      damaged.map(({ path, reason }) => damagedCopy(context.hosts.label(host), path, reason)),
    ),
  ]
  const unreadable = new Set(inventories.flatMap(({ damaged }) => damaged.flatMap(skewedId)))
  const blocked = whyBlocked(context, replies)
  if (blocked !== null) return { written: [], kept: [], problems: [...problems, blocked] }
  const records = (await registry.volumes()).map(({ value }) => value.name)
  const removed = new Set((await registry.removed()).map(({ value }) => value.id))
  const written: string[] = []
  const kept = new Set(records)
  for (const [name, found] of byName(inventories, removed)) {
    const planned = planVolume(name, found, {
      someSilent: silent.length > 0,
      now: context.dependencies.clock.now(),
      by: context.dependencies.self.id,
    })
    const skewed = found.find(({ copy }) => unreadable.has(copy.id))
    const plan = skewed === undefined ? planned : unreadableCopy(name, skewed.copy.id)
    const outcome =
      typeof plan === 'string'
        ? plan
        : await writePlan(context, plan, signal).catch((error: unknown) => leaveUnreadable(name, error))
    if (outcome === 'kept') kept.add(name)
    else kept.delete(name)
    if (outcome === 'written') written.push(name)
    else if (outcome !== 'kept') problems.push(outcome)
  }
  if (written.length > 0) log.warn({ volumes: written }, "records rebuilt from the hosts' disks")
  context.wakeups.wake(null)
  context.wakeups.wake(RECONCILE)
  return { written: written.sort(), kept: [...kept].sort(), problems }
}

/** The id of a copy in a format that was not read. */
function skewedId({ path, code }: DamagedCopy): string[] {
  return code === 'VERSION_SKEW' ? [basename(path)] : []
}

/** One record that cannot be read does not keep the others from being written. */
function leaveUnreadable(name: string, error: unknown): string {
  if (error instanceof WherryError && (error.code === 'VERSION_SKEW' || error.code === 'RECORD_INVALID'))
    return unreadableRecord(name, error.toLine())
  throw error
}

async function askAll(
  context: Pick<Context, 'dependencies' | 'hosts' | 'lease' | 'guardedVolumes' | 'confirmed'>,
  signal: AbortSignal,
): Promise<Asked[]> {
  const { self, clock } = context.dependencies
  const inTime = AbortSignal.any([signal, context.dependencies.signal, clock.deadline(REPLY_MS)])
  const own: AskableHost = {
    label: context.hosts.label(self.id),
    ids: [self.id],
    address: self.address,
    port: self.transferPort,
    alive: true,
  }
  const others = askableHosts(context).map(async (known): Promise<Asked> => {
    try {
      return { known, inventory: await askInventory(context, known, inTime), why: '' }
    } catch (error) {
      signal.throwIfAborted()
      return { known, inventory: null, why: error instanceof WherryError ? error.message : String(error) }
    }
  })
  return [{ known: own, inventory: await takeInventory(context), why: '' }, ...(await Promise.all(others))]
}

function whyBlocked(
  context: Pick<Context, 'dependencies' | 'hosts' | 'lease'>,
  replies: readonly Asked[],
): string | null {
  const { clock, seizeAfterMs } = context.dependencies
  const silent = replies.filter(({ inventory }) => inventory === null)
  if (silent.length === 0) return null
  // By the heartbeats of now: the replies took their time.
  const alive = new Set(askableHosts(context).flatMap((host) => (host.alive ? [`${host.address} ${host.port}`] : [])))
  const living = silent.filter(({ known }) => alive.has(`${known.address} ${known.port}`))
  if (living.length > 0) {
    return livingSilent(living.map(({ known }) => known.label))
  }
  if (2 * silent.length >= replies.length) return mostSilent(silent.length, replies.length)
  // Only a host that has watched for so long without a break would have heard of a host that may still be writing.
  const watchedMs = clock.elapsedMs() - context.lease.unbrokenSinceMs
  if (!context.lease.runs || watchedMs < seizeAfterMs) {
    return notWatchedYet(silent.length, replies.length, seizeAfterMs)
  }
  return null
}

/** Returns what all disks have, by the volume's name. Tombstones end a volume wherever a copy is left. */
function byName(inventories: readonly Inventory[], removed: ReadonlySet<string>) {
  const found = new Map<string, RecoverPlan['found'][number][]>()
  for (const { host, copies, proven, guarded } of inventories) {
    for (const copy of copies) {
      if (removed.has(copy.id)) continue
      const one = { host, copy, proven: proven.includes(copy.id), guarded: guarded.includes(copy.id) }
      found.set(copy.name, [...(found.get(copy.name) ?? []), one])
    }
  }
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1))
}

/**
 * Writes one record: returns `written`, `kept`, or a problem for an operator.
 * Retried until the outcome is known.
 */
async function writePlan(
  context: Pick<Context, 'dependencies'>,
  plan: RecoverPlan,
  caller: AbortSignal,
): Promise<string> {
  const { registry, clock } = context.dependencies
  const signal = AbortSignal.any([caller, context.dependencies.signal, clock.deadline(WRITE_MS)])
  let tried = false
  while (!signal.aborted) {
    const entry = await registry.volume(plan.name)
    const next = mergeRecord(entry?.value ?? null, plan)
    if (typeof next === 'string') return next === 'kept' && tried ? 'written' : next
    const write = await (entry === null ? registry.addVolume(next) : registry.updateVolume(next, entry.revision))
    if (write.outcome === 'done') return 'written'
    if (write.outcome === 'unknown') tried = true
    await clock.sleep(RETRY_MS, signal)
  }
  return recordUnconfirmed(plan.name)
}
