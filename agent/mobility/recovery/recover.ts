import { WherryError } from '../../model/errors.ts'
import type { Context } from '../context.ts'
import type { RecoverView } from '../contract.ts'
import { RETRY_MS } from '../record/update-record.ts'
import { RECONCILE } from '../wakeups.ts'
import { type AskableHost, askableHosts, type Inventory, readInventory, takeInventory } from './inventory.ts'
import { mergeRecord } from './merge-record.ts'
import { planVolume, type RecoverPlan } from './plan.ts'

/** A host reads the records of all its copies for the answer; more than that means that it hangs. */
const ANSWER_MS = 15_000
/** One volume's write; the next ones are tried all the same. */
const WRITE_MS = 10_000

interface Asked {
  readonly known: AskableHost
  readonly inventory: Inventory | null
  readonly why: string
}

/**
 * Writes the records of a lost registry anew, from the disks of all hosts that answer: those that are missing, and those whose epoch is below what
 * a disk has seen. Never lowers an epoch, never touches another record. Nothing is written while a host that lives does not answer (it may be
 * writing to a volume right now, and nobody else knows), while this host cannot tell whether it lives, or while half or more of all known hosts are silent (their disks may have newer checkpoints);
 * RecoverView.problems says so. May be repeated; every record in `written` is durable on return. REGISTRY_UNAVAILABLE.
 */
export async function recoverRegistry(
  context: Pick<Context, 'dependencies' | 'hosts' | 'wakeups' | 'lease' | 'confirmed'>,
  signal: AbortSignal,
): Promise<RecoverView> {
  const { registry, log } = context.dependencies
  const answers = await askAll(context, signal)
  const inventories = answers.flatMap(({ inventory }) => inventory ?? [])
  const silent = answers.filter(({ inventory }) => inventory === null)
  const problems = [...silent.map(describeSilent), ...inventories.flatMap((found) => describeDamaged(context, found))]
  const blocked = whyBlocked(context, answers)
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
    const outcome = typeof planned === 'string' ? planned : await writePlan(context, planned, signal)
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

async function askAll(
  context: Pick<Context, 'dependencies' | 'hosts' | 'lease' | 'confirmed'>,
  signal: AbortSignal,
): Promise<Asked[]> {
  const { self, clock, peers } = context.dependencies
  const inTime = AbortSignal.any([signal, context.dependencies.signal, clock.deadline(ANSWER_MS)])
  const own: AskableHost = {
    label: context.hosts.label(self.id),
    address: self.address,
    port: self.transferPort,
    alive: true,
  }
  const others = askableHosts(context).map(async (known): Promise<Asked> => {
    try {
      const { address, port } = known
      const answer = await peers.ask({ address, port }, { kind: 'inventory' }, inTime)
      return { known, inventory: readInventory(answer, known.label), why: '' }
    } catch (error) {
      signal.throwIfAborted()
      return { known, inventory: null, why: error instanceof WherryError ? error.message : String(error) }
    }
  })
  return [{ known: own, inventory: await takeInventory(context), why: '' }, ...(await Promise.all(others))]
}

function whyBlocked(
  context: Pick<Context, 'dependencies' | 'hosts' | 'lease'>,
  answers: readonly Asked[],
): string | null {
  const { clock, seizeAfterMs } = context.dependencies
  const silent = answers.filter(({ inventory }) => inventory === null)
  if (silent.length === 0) return null
  // As they are heard of now: the answers took their time.
  const alive = new Set(askableHosts(context).flatMap((host) => (host.alive ? [`${host.address} ${host.port}`] : [])))
  const living = silent.filter(({ known }) => alive.has(`${known.address} ${known.port}`))
  if (living.length > 0) {
    const names = living.map(({ known }) => known.label).join(', ')
    return `Nothing was written: ${names} lives and did not answer; it may be writing to a volume now. Make it reachable, or stop it, and run this again.`
  }
  if (2 * silent.length >= answers.length) {
    return `Nothing was written: ${silent.length} of ${answers.length} hosts did not answer, and what they have may be newer. Start more of them, or take those that are gone for good out of WHERRY_PEERS, and run this again.`
  }
  // Only who has watched for so long without a break would have heard of a host that may still be writing.
  const watchedMs = clock.elapsedMs() - context.lease.unbrokenSinceMs
  if (!context.lease.runs || watchedMs < seizeAfterMs) {
    return `Nothing was written: ${silent.length} of ${answers.length} hosts did not answer, and this host cannot tell yet that they do not live: it has not reached the registry without a break for ${Math.ceil(seizeAfterMs / 1000)} s. Run this again then, or on another host.`
  }
  return null
}

function describeSilent({ known, why }: Asked): string {
  return `Host ${known.label} did not answer (${why.replace(/\.$/, '')}). Volumes that only it has are not seen; what it alone has written is kept there when it comes back.`
}

function describeDamaged(context: Pick<Context, 'hosts'>, { host, damaged }: Inventory): string[] {
  return damaged.map(
    ({ path, reason }) =>
      `${path} on host ${context.hosts.label(host)} cannot be understood and was left out: ${reason}`,
  )
}

/** What all disks have, by the volume's name; tombstones end a volume wherever a copy is left. */
function byName(inventories: readonly Inventory[], removed: ReadonlySet<string>) {
  const found = new Map<string, RecoverPlan['found'][number][]>()
  for (const { host, copies, proven } of inventories) {
    for (const copy of copies) {
      if (removed.has(copy.id)) continue
      found.set(copy.name, [...(found.get(copy.name) ?? []), { host, copy, proven: proven.includes(copy.id) }])
    }
  }
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1))
}

/** `written`, `kept`, or a problem for a person. A write is repeated until its outcome is known. */
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
  return `Volume "${plan.name}": the registry did not confirm its record in time. Run this again.`
}
