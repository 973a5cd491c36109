import { z } from 'zod'
import type { Checkpoint, VolumeRecord } from '../../model/model.ts'
import { rejectOnAbort } from '../../runtime/abort.ts'
import type { Query } from '../../transfer/contract.ts'
import type { Context } from '../context.ts'
import { mayHaveCheckpoint } from '../record/copies.ts'
import { reportFoundDamage, verifySoon } from '../replication/damaged-copies.ts'
import { troubleOf } from '../trouble.ts'
import { type Candidates, findCandidates } from './candidates.ts'

/**
 * A tree that was read before is compared within seconds.
 * One that has to be read again may take hours.
 */
const COMPARE_MS = 15_000

/** What a host found its idle copy to be. */
export interface ComparisonReply {
  /** Id of the host. Missing: an older release replied. */
  readonly host?: string | undefined
  /** Hash of the tree; null: the copy is not idle, or cannot be read. */
  readonly hash: string | null
  /** Why it cannot be read; null: it can. */
  readonly why: string | null
}

const reply: z.ZodType<ComparisonReply> = z.object({
  host: z.string().optional(),
  hash: z.string().nullable(),
  why: z.string().nullable(),
})

/**
 * As `findCandidates`, without copies that differ from their checkpoint.
 * These can be neither mounted nor sent.
 * A copy that nobody compares in time counts; the Mount compares it again.
 */
export async function findSoundCandidates(
  context: Pick<Context, 'dependencies' | 'hosts' | 'locks' | 'copyManager' | 'treeChecks'>,
  record: VolumeRecord,
  signal: AbortSignal,
): Promise<Candidates> {
  const unusable = new Map<string, string>()
  for (;;) {
    const found = await findCandidates(context, record, signal, unusable)
    const { best } = found
    const before = unusable.size
    if (best !== null) {
      await Promise.all(
        found.hosts.map(async (host) => {
          const why = await whyUnsound(context, record, host, best.hash, signal)
          if (why !== null) unusable.set(host, why)
        }),
      )
    }
    if (unusable.size === before) return found
  }
}

/** Returns the ids of the other living hosts that have a checkpoint by the record. */
export function othersWith(
  context: Pick<Context, 'dependencies' | 'hosts'>,
  { copies }: Pick<VolumeRecord, 'copies'>,
  checkpoint: Checkpoint,
): string[] {
  return Object.keys(copies).filter((host) => {
    return (
      host !== context.dependencies.self.id && context.hosts.alive(host) && mayHaveCheckpoint(copies[host], checkpoint)
    )
  })
}

/** Whether each of these hosts finds now that its copy is that checkpoint. False also without a reply. */
export async function areSound(
  context: Pick<Context, 'dependencies' | 'hosts' | 'locks' | 'copyManager' | 'treeChecks'>,
  id: string,
  hosts: readonly string[],
  at: Checkpoint,
): Promise<boolean> {
  const found = await Promise.all(hosts.map((host) => compareAt(context, id, host, context.dependencies.signal)))
  return found.every((one) => one?.hash === at.hash)
}

/**
 * Compares this host's copy with its checkpoint if nobody uses it, and reports a difference.
 * Joins a comparison that runs. May be repeated.
 */
export async function compareOwnCopy(
  context: Pick<Context, 'dependencies' | 'hosts' | 'locks' | 'copyManager' | 'treeChecks'>,
  { volume, doubted }: Pick<Extract<Query, { kind: 'compare' }>, 'volume' | 'doubted'>,
  signal: AbortSignal,
): Promise<ComparisonReply> {
  const { store, registry, clock, self } = context.dependencies
  const compare = async (): Promise<ComparisonReply> => {
    // The asker has waited for a long comparison and asks again: queued ones would keep Mounts waiting.
    if (signal.aborted) return NOT_AT_REST
    const local = await store.copy(volume)
    if (local === null || local.held !== null || local.applying) return NOT_AT_REST
    // Hosts that doubt the copy ask again and again: it would never be read to the end.
    if (context.treeChecks.isVerified(volume)) return NOT_AT_REST
    try {
      const checkpoint = doubted ? null : (local.checkpoint?.hash ?? null)
      const { hash } = await context.treeChecks.joinLately(volume, checkpoint)
      const isWhole = (await store.copy(volume))?.damaged === null
      const record = isWhole ? null : (await registry.volume(local.name))?.value
      if (record?.id === volume) await reportFoundDamage(context, record)
      if (isWhole && doubted) verifySoon(context, local)
      return { host: self.id, hash, why: null }
    } catch (error) {
      context.dependencies.signal.throwIfAborted()
      const { code, text } = troubleOf(error, clock.now())
      return { host: self.id, hash: null, why: `${code}: ${text}` }
    }
  }
  // The lock keeps a hold from beginning meanwhile.
  return await rejectOnAbort(context.locks.run(volume, compare), signal)
}

/** The copy cannot be compared now. */
const NOT_AT_REST: ComparisonReply = { hash: null, why: null }

/** Null: nothing is known to be wrong. */
async function whyUnsound(
  context: Pick<Context, 'dependencies' | 'hosts' | 'locks' | 'copyManager' | 'treeChecks'>,
  { id }: Pick<VolumeRecord, 'id'>,
  host: string,
  hash: string,
  signal: AbortSignal,
): Promise<string | null> {
  const found = await compareAt(context, id, host, signal)
  if (found === null || found.hash === null || found.hash === hash) return found?.why ?? null
  return `files under volumes/${id}/data were changed there while no container used it, or its disk is damaged`
}

/** Null: nobody compared it in time. */
async function compareAt(
  context: Pick<Context, 'dependencies' | 'hosts' | 'locks' | 'copyManager' | 'treeChecks'>,
  id: string,
  host: string,
  signal: AbortSignal,
): Promise<ComparisonReply | null> {
  const { self, peers, clock } = context.dependencies
  const inTime = AbortSignal.any([signal, clock.deadline(COMPARE_MS)])
  const asked = { volume: id, doubted: false }
  try {
    if (host === self.id) return await compareOwnCopy(context, asked, inTime)
    const known = context.hosts.get(host)
    if (known === undefined) return null
    const address = { address: known.address, port: known.transferPort }
    const found = reply.parse(await peers.ask(address, { kind: 'compare', ...asked }, inTime))
    // A heartbeat may name the address of another host, whose copy must not count twice.
    return found.host === undefined || found.host === host ? found : null
  } catch (error) {
    context.dependencies.log.debug({ err: error, volume: id, host }, 'copy comparison failed')
    return null
  }
}
