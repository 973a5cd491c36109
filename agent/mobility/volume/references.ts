import { WherryError } from '../../model/errors.ts'
import type { HostRecord, VolumeRecord } from '../../model/model.ts'
import type { Query } from '../../transfer/contract.ts'
import type { Context } from '../context.ts'
import { findOwnReferences, parseReferenceReply, type ReferenceReply } from './own-references.ts'

/** A living host replies in milliseconds; its engine, under load, in seconds. */
const REPLY_MS = 6_000
/** A host that has not been heard of is most likely not there. */
const SILENT_REPLY_MS = 500

/** What is known to refer to a volume, and what is not known. */
export interface References {
  /** Names of services of the Swarm. */
  readonly services: readonly string[]
  /** Containers on hosts that replied, by the host's id. */
  readonly containers: readonly { readonly host: string; readonly name: string; readonly state: string }[]
  /**
   * Hosts that are away and whose last heartbeat has containers with it (null: it did not say).
   * Hosts that the volume was taken over from, and that have not returned since, do not count.
   */
  readonly away: readonly { readonly host: string; readonly containers: readonly string[] | null }[]
  /** What could not be asked although it may refer to it, each a clause for the operator. */
  readonly unknown: readonly string[]
}

type Asked = ReferenceReply | WherryError

/**
 * Asks all hosts at once, directly, what refers to a volume: containers in any state, and services.
 * A host that is away counts by its last heartbeat. Never rejects: a host without a reply is `away` or `unknown`.
 * Call it with heartbeats that were just read. `removing`: an earlier call found no reference, and the holder has to
 * release.
 */
export async function findReferences(
  context: Pick<Context, 'dependencies' | 'hosts' | 'wakeups' | 'containerUses'>,
  record: VolumeRecord,
  removing: boolean,
  signal: AbortSignal,
): Promise<References> {
  const { clock, self } = context.dependencies
  const inTime = AbortSignal.any([signal, clock.deadline(REPLY_MS)])
  const atOnce = AbortSignal.any([signal, clock.deadline(SILENT_REPLY_MS)])
  const question = { kind: 'references', volume: record.id, name: record.name, removing } as const
  const others = context.hosts.all().filter(({ id }) => id !== self.id)
  const [own, replies, strangers] = await Promise.all([
    findOwnReferences(context, question).catch(asError),
    Promise.all(others.map((host) => askHost(context, question, host, context.hosts.alive(host.id) ? inTime : atOnce))),
    askStrangers(context, question, others, atOnce),
  ])
  const silent = others.flatMap((host, nth) => {
    const reply = replies[nth]
    return reply instanceof WherryError ? [{ host, why: reply }] : []
  })
  const said = [own, ...replies, ...strangers].filter((reply) => !(reply instanceof WherryError)) as ReferenceReply[]
  const lists = said.flatMap(({ services }) => (typeof services === 'string' ? [] : [services]))
  const isSwarm = said.some(({ services }) => services !== 'none') || silent.some(({ host }) => host.swarmNode !== null)
  const living = silent.filter(({ host }) => context.hosts.alive(host.id))
  const unknown = [
    ...(own instanceof WherryError ? [`this host could not be asked (${reasonOf(own)})`] : []),
    ...living.map(({ host, why }) => `host ${context.hosts.label(host.id)} did not answer (${reasonOf(why)})`),
    ...(isSwarm && lists.length === 0 ? ["no manager of the Swarm could be asked for the Swarm's services"] : []),
  ]
  const byHost = new Map(said.map((reply) => [reply.host, reply.containers]))
  const away = silent.filter((one) => !living.includes(one)).flatMap(({ host }) => lastWord(record, host))
  // A holder that is cut off from the registry can be asked, and cannot release.
  const cutOff = record.holder?.host ?? ''
  const replied = isAway(context, cutOff) ? byHost.get(cutOff) : undefined
  if (replied !== undefined) {
    away.push({ host: cutOff, containers: replied.map(({ name }) => name) })
    byHost.delete(cutOff)
  }
  return {
    services: [...new Set(lists.flat())].sort(),
    containers: [...byHost].flatMap(([host, found]) => found.map(({ name, state }) => ({ host, name, state }))),
    away,
    unknown,
  }
}

/** Whether a host does not renew its lease, as far as this one knows. */
export function isAway(context: Pick<Context, 'dependencies' | 'hosts'>, host: string): boolean {
  return host !== context.dependencies.self.id && !context.hosts.alive(host)
}

/** What a host that is away may have, by its last heartbeat. */
function lastWord(record: VolumeRecord, host: HostRecord): References['away'][number][] {
  const { id, referrers } = host
  if (record.holder?.host !== id && isAwaySinceLoss(record, host)) return []
  if (referrers === undefined) return [{ host: id, containers: null }]
  const containers = Object.hasOwn(referrers, record.name) ? (referrers[record.name] ?? []) : []
  return containers.length === 0 && record.holder?.host !== id ? [] : [{ host: id, containers }]
}

/**
 * Whether a host lost the volume to another one and has not returned since.
 * Its containers are killed when it does.
 * What it said after a return counts, and so does what a host said that gave the volume up while alive.
 */
function isAwaySinceLoss({ seizures }: VolumeRecord, { id, expiredBy, at }: HostRecord): boolean {
  const loss = seizures.findLast(({ from }) => from === id)
  return loss !== undefined && expiredBy !== null && Date.parse(at) <= Date.parse(loss.at)
}

async function askHost(
  context: Pick<Context, 'dependencies' | 'hosts'>,
  question: Query,
  host: HostRecord,
  signal: AbortSignal,
): Promise<Asked> {
  const { address, transferPort: port } = host
  const reply = await askAt(context, question, { address, port }, context.hosts.label(host.id), signal)
  if (reply instanceof WherryError || reply.host === host.id) return reply
  return new WherryError('PEER_REFUSED', `the host at ${address} is another one`)
}

/**
 * Asks hosts of the settings that the registry does not know.
 * Most likely they are yet to be installed.
 * One that replies counts.
 */
async function askStrangers(
  context: Pick<Context, 'dependencies'>,
  question: Query,
  known: readonly HostRecord[],
  signal: AbortSignal,
) {
  const { self, peerAddresses } = context.dependencies
  const addresses = new Set([self.address, ...known.map(({ address }) => address)])
  const strangers = peerAddresses.filter(({ address }) => !addresses.has(address))
  const replies = await Promise.all(strangers.map((host) => askAt(context, question, host, host.address, signal)))
  // Nobody replies for a host that has a heartbeat, but that host.
  const ids = new Set([self.id, ...known.map(({ id }) => id)])
  return replies.filter((reply) => reply instanceof WherryError || !ids.has(reply.host))
}

async function askAt(
  context: Pick<Context, 'dependencies'>,
  question: Query,
  host: { readonly address: string; readonly port: number },
  label: string,
  signal: AbortSignal,
): Promise<Asked> {
  try {
    const said = await context.dependencies.peers.ask(host, question, signal)
    return parseReferenceReply(said, label)
  } catch (error) {
    return signal.aborted ? new WherryError('TRANSFER_CUT', 'no reply in time') : asError(error)
  }
}

function asError(error: unknown): WherryError {
  return error instanceof WherryError ? error : new WherryError('INTERNAL', String(error))
}

function reasonOf({ message }: WherryError): string {
  return message.replace(/\.$/, '')
}
