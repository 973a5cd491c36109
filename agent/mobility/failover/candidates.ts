import { codeOf } from '../../model/errors.ts'
import type { Checkpoint, VolumeRecord } from '../../model/model.ts'
import type { CopyReply } from '../../transfer/contract.ts'
import type { Context } from '../context.ts'
import { isSameTree, newerOf } from '../record/checkpoint-order.ts'
import { isEmptyTree, isForged, isKnownCopy, mayBeNewest } from '../record/copies.ts'
import { parseCopyReply } from '../record/copy-answer.ts'
import { standingOf } from '../record/lineage.ts'

/** A living host replies in milliseconds; a Mount waits for all of them. */
const REPLY_MS = 2_000
/** A host that has not been heard of is most likely not there, and a service is down meanwhile. */
const SILENT_REPLY_MS = 300

/** What came of the questions. `skewed`: hosts of another version that could not tell, and why, by host. */
interface Asked {
  readonly found: readonly CopyReply[]
  readonly silent: readonly string[]
  readonly skewed: ReadonlyMap<string, string>
}

/** What the hosts that can be reached have of a volume. */
export interface Candidates {
  /** The newest committed checkpoint of the volume's line; null: none was found. */
  readonly best: Checkpoint | null
  /** Hosts that have it, by id. */
  readonly hosts: readonly string[]
  /**
   * The newest checkpoint of the holder, which sets its tree aside when it gives the volume up.
   * Null: none is known.
   */
  readonly holders: Checkpoint | null
  /** Highest epoch on any disk whose host replied. */
  readonly epochSeen: number
  /**
   * Hosts that may have the newest checkpoint of an idle volume, and still show a hold.
   * Their disks do not have the release yet. Their copies do not count so far.
   */
  readonly releasing: readonly string[]
  /** Hosts with a copy by the record that did not reply. */
  readonly silent: readonly string[]
  /** One line for operators: who has what. */
  readonly described: string
}

/**
 * Asks all hosts with a copy, directly, for their newest committed checkpoint.
 * `except`: copies that cannot be used, by host, and why. Never rejects: a host that does not reply is `silent`.
 */
export async function findCandidates(
  context: Pick<Context, 'dependencies' | 'hosts'>,
  record: VolumeRecord,
  signal: AbortSignal,
  except: ReadonlyMap<string, string> = new Map(),
): Promise<Candidates> {
  const { clock } = context.dependencies
  const inTime = AbortSignal.any([signal, clock.deadline(REPLY_MS)])
  const atOnce = AbortSignal.any([signal, clock.deadline(SILENT_REPLY_MS)])
  // A copy that the record does not know does not count: the holder does not know that it could be taken over there.
  const hosts = Object.keys(record.copies)
  const skewed = new Map<string, string>()
  const replies = await Promise.all(
    hosts.map((host) =>
      askForCopy(context, record, host, context.hosts.alive(host) ? inTime : atOnce).catch((error: unknown) => {
        if (codeOf(error) === 'VERSION_SKEW') skewed.set(host, (error as Error).message)
        return undefined
      }),
    ),
  )
  const found = replies.flatMap((reply) => reply ?? [])
  const usable = found.filter((reply) => {
    return isUsable(record, reply) && isKept(record, reply) && !except.has(reply.host)
  })
  const holding = found.find((reply) => reply.host === record.holder?.host && isUsable(record, reply))
  const best = usable.reduce<Checkpoint | null>(
    (newest, { checkpoint }) => (checkpoint === null ? newest : newerOf(newest, checkpoint)),
    null,
  )
  const silent = hosts.filter((_, nth) => replies[nth] === undefined)
  return {
    best,
    hosts: usable.filter(({ checkpoint }) => isSameTree(checkpoint, best)).map(({ host }) => host),
    holders: holding?.held === true ? holding.checkpoint : null,
    epochSeen: found.reduce((highest, { epochSeen }) => Math.max(highest, epochSeen), 0),
    releasing: found
      .filter(({ host, held }) => record.holder === null && held && mayBeNewest(record, record.copies[host]))
      .map(({ host }) => host),
    silent,
    described: describe(context, record, { found, silent, skewed }, except),
  }
}

/**
 * Asks one host for its copy. Undefined: nobody knows the host. Null: it has no copy. Rejects when there is no reply.
 * A reply of another host counts as none: the heartbeat may name an address that is not this host's.
 */
export async function askForCopy(
  context: Pick<Context, 'dependencies' | 'hosts'>,
  record: Pick<VolumeRecord, 'id'>,
  host: string,
  signal: AbortSignal,
): Promise<CopyReply | null | undefined> {
  const { self, peers, store } = context.dependencies
  if (host === self.id) {
    const mine = await store.copy(record.id)
    if (mine === null) return null
    const usable = !mine.applying && mine.damaged === null && mine.held === null
    const { epochSeen, checkpoint, held } = mine
    return { host, epochSeen, checkpoint: usable ? checkpoint : null, held: held !== null }
  }
  const known = context.hosts.get(host)
  if (known === undefined) return undefined
  const address = { address: known.address, port: known.transferPort }
  const said = await peers.ask(address, { kind: 'copy', volume: record.id }, signal)
  const reply = parseCopyReply(said, host)
  return reply === null || reply.host === host ? reply : undefined
}

/**
 * Whether a copy can be taken over with.
 * A checkpoint above `last` counts when it is of the holder's line: a copy committed it, and the registry was not
 * told. An empty tree that no holder knows is a leftover of an older release.
 */
function isUsable(record: VolumeRecord, reply: CopyReply): boolean {
  const { checkpoint, host } = reply
  if (checkpoint === null || isForged(reply)) return false
  if (isEmptyTree(checkpoint) && !isKnownCopy(record.copies[host])) return false
  const standing = standingOf(record, checkpoint)
  return standing === 'in line' || (standing === 'newer' && checkpoint.epoch <= record.epoch)
}

/**
 * Whether the copy stays when the volume is taken over.
 * A tree that is held is set aside then, unless the record says that it is released.
 */
function isKept({ holder, epoch }: VolumeRecord, { held, epochSeen }: CopyReply): boolean {
  return !held || (holder === null && epochSeen === epoch)
}

function describe(
  context: Pick<Context, 'hosts'>,
  record: VolumeRecord,
  { found, silent, skewed }: Asked,
  except: ReadonlyMap<string, string>,
): string {
  const has = found.map((reply) => {
    const why = except.get(reply.host)
    const host = context.hosts.label(reply.host)
    if (why !== undefined && reply.checkpoint === null) return `${host}: a copy that cannot be used: ${why}`
    const rest = why === undefined ? '' : `, which cannot be used: ${why}`
    return `${host}: ${describeReply(context, record, reply)}${rest}`
  })
  const away = silent.map((host) => {
    const copy = record.copies[host]
    const known = copy === undefined ? 'no copy is known' : `last known at ${copy.epoch}.${copy.seq}`
    const why = skewed.get(host)
    return `${context.hosts.labelWithAge(host)}: ${why ?? 'did not answer'}, ${known}`
  })
  return [...has, ...away].join('; ') || 'no host has a copy'
}

function describeReply(context: Pick<Context, 'hosts'>, record: VolumeRecord, reply: CopyReply): string {
  const { host, checkpoint, held } = reply
  if (checkpoint === null && held && record.holder === null) {
    const said = context.hosts.get(host)
    const trouble = said?.unwritable ?? said?.stuck?.[record.id]
    const why = trouble == null ? '' : ` (${trouble.code}: ${trouble.text})`
    return `has not been able to write down that it has released it${why}`
  }
  const damaged = context.hosts.get(host)?.damaged?.[record.id]
  if (checkpoint === null && damaged !== undefined)
    return [
      `a copy that cannot be used: files under volumes/${record.id}/data`,
      `are not what its checkpoint says (${damaged})`,
    ].join(' ')
  if (checkpoint === null) return held ? 'holds it' : 'nothing that can be used'
  const name = `${isKept(record, reply) ? '' : 'holds it, '}checkpoint ${checkpoint.epoch}.${checkpoint.seq}`
  return isUsable(record, reply) ? name : `${name}, which is not one of this volume's line`
}
