import { isDeepStrictEqual } from 'node:util'
import type { Bus } from '../../bus/contract.ts'
import type { Engine, SwarmNode } from '../../docker/contract.ts'
import type { HostRecord, VolumeRecord } from '../../model/model.ts'
import type { Context } from '../context.ts'
import type { Dependencies, RecordCache } from '../dependencies.ts'
import type { HostDirectory } from '../host-contract.ts'
import { NODES_SUBJECT, type NodesMessage, TELL_NODES_EVERY_MS } from './node-facts.ts'

const LABEL_PREFIX = 'wherry.'
/** The node label by which copies are spread. */
const ZONE_LABEL = 'zone'
/** Longer zones are cut: hosts repeat theirs in each heartbeat. */
const ZONE_MOST_CHARS = 64
/**
 * Our labels of one node have no more bytes.
 * Swarm refuses a change of more than 1.5 MiB (swarmkit, `MaxTransactionBytes`), and an operator has labels as well.
 */
const LABELS_MOST_BYTES = 256 * 1024
const SCAN_EVERY_MS = 5_000
/**
 * Nodes that were changed in this time by anybody, this agent included, are left alone.
 * A node is replaced as a whole, and Swarm refuses a change of an older version: an operator's change would fail
 * because of a write between its read and its write.
 */
const QUIET_MS = 10_000
/**
 * A move makes a holder of a copy and a copy of a holder.
 * That is written when no volume has moved for this long.
 */
const STILL_MS = 120_000

const NODES = '/nodes'

type Labels = Readonly<Record<string, string>>

/** What labelling the nodes may touch. */
export interface LabelContext extends Pick<Context, 'wakeups' | 'node'> {
  readonly hosts: Pick<HostDirectory, 'all'>
  readonly dependencies: Pick<Dependencies, 'clock' | 'signal' | 'log'> & {
    readonly bus: Pick<Bus, 'publish' | 'subscribe'>
    readonly cache: Pick<RecordCache, 'list'>
    readonly engine: Pick<Engine, 'nodes' | 'setNodeLabels'>
  }
}

interface SeenNode {
  readonly version: number
  readonly sinceMs: number
  /** The roles with which this version was compared and found right. */
  right: string
}

/** What is remembered from one scan of the nodes to the next; losing it costs time only. */
interface LabelMemory {
  /** Which version of a node was seen, and since when, by node id. */
  readonly versions: Map<string, SeenNode>
  /** All roles as they should be, and since when. */
  wanted: string
  wantedMs: number
  /** How many volumes had no room among the labels. */
  left: number
}

/**
 * Publishes the Swarm's nodes and keeps their labels true, until the agent stops.
 * Does so only while this engine is the Swarm's leader.
 */
export async function leadNodes(context: LabelContext): Promise<void> {
  const { bus, clock, engine, signal, log } = context.dependencies
  bus.subscribe('schedule.node', () => context.wakeups.wake(NODES), signal)
  let told = ''
  let toldMs = Number.NEGATIVE_INFINITY
  const memory: LabelMemory = { versions: new Map(), wanted: '', wantedMs: 0, left: 0 }
  while (!signal.aborted) {
    try {
      if (context.node.leader) {
        const nodes = await engine.nodes()
        const message = JSON.stringify(toMessage(nodes))
        if (message !== told || clock.elapsedMs() - toldMs >= TELL_NODES_EVERY_MS) {
          bus.publish(NODES_SUBJECT, toMessage(nodes))
          told = message
          toldMs = clock.elapsedMs()
        }
        await labelNodes(context, nodes, memory)
      }
    } catch (error) {
      if (!signal.aborted) log.debug({ err: error }, 'scan of the nodes failed')
    }
    await context.wakeups.wait(NODES, (until) => clock.sleep(SCAN_EVERY_MS, until), signal)
  }
}

/**
 * Returns the records that nodes are labelled by: the oldest ones, as many as a node takes.
 * `left`: how many others would have a label. A volume that was never used has no data anywhere: it gets no label, so
 * that its first task may go to any node.
 */
export function labelledRecords(records: readonly VolumeRecord[]): { labelled: VolumeRecord[]; left: number } {
  const used = records.filter(({ holder, last }) => holder !== null || last !== null)
  // Ids begin with the time at which the volume was created: a new volume takes no other one's label away.
  const sorted = used.toSorted((a, b) => (a.id < b.id ? -1 : 1))
  let bytes = 0
  const full = sorted.findIndex(({ name }) => {
    bytes += JSON.stringify({ [LABEL_PREFIX + name]: 'holder' }).length
    return bytes > LABELS_MOST_BYTES
  })
  const labelled = full === -1 ? sorted : sorted.slice(0, full)
  return { labelled, left: sorted.length - labelled.length }
}

/**
 * Returns the labels of one node. `records`: those of `labelledRecords`.
 * For each volume whether its host is the `holder`, has a `copy`, or has `none`.
 * All three are set: Swarm stops a running task as soon as its node does not meet its constraints any more (swarmkit,
 * ConstraintEnforcer), and a copy becomes the holder when its task starts. `node.labels.wherry.data!=none` stays true
 * through that.
 */
export function labelsOf(host: string | null, records: readonly VolumeRecord[]): Labels {
  return Object.fromEntries(records.map((record) => [`${LABEL_PREFIX}${record.name}`, roleOf(host, record)]))
}

/** A copy that is a little behind is still a copy: labels must not change with every checkpoint. */
function roleOf(host: string | null, record: VolumeRecord): 'holder' | 'copy' | 'none' {
  if (host === null) return 'none'
  if (record.holder?.host === host) return 'holder'
  const state = record.copies[host]?.state
  return state === 'current' || state === 'behind' ? 'copy' : 'none'
}

async function labelNodes(context: LabelContext, nodes: readonly SwarmNode[], memory: LabelMemory): Promise<void> {
  const { cache, engine, clock, signal } = context.dependencies
  const { entries, stale } = await cache.list()
  if (stale || context.hosts.all().length === 0) return
  const nowMs = clock.elapsedMs()
  const present = entries.map(({ value }) => value).filter(({ removedAt }) => removedAt === null)
  const { labelled: records, left } = labelledRecords(present)
  noteLeft(context, memory, left)
  const nodeHosts = nodes.map((node) => hostOf(context.hosts.all(), node.id)?.id ?? null)
  const described = describeRoles(nodes, nodeHosts, records)
  if (described !== memory.wanted) Object.assign(memory, { wanted: described, wantedMs: nowMs })
  const isStill = nowMs - memory.wantedMs >= STILL_MS
  for (const [nth, node] of nodes.entries()) {
    const seen = noteVersion(memory, node, nowMs)
    if (seen === null || seen.right === described) continue
    // Nodes x volumes are compared in this loop: the renewal of the lease must not wait for all of them.
    await clock.sleep(0, signal)
    const labels = labelsOf(nodeHosts[nth] ?? null, records)
    if (isLabelled(node, labels)) seen.right = described
    if (seen.right === described || (saysTheSame(node, labels) && !isStill)) continue
    // Refused: another writer was faster, and the node is left alone until it is quiet again.
    await engine.setNodeLabels(node.id, node.version, LABEL_PREFIX, labels)
  }
  for (const id of memory.versions.keys()) if (!nodes.some((node) => node.id === id)) memory.versions.delete(id)
}

/** Logs when some volumes begin to have no labels for want of room, and when that ends. */
function noteLeft({ dependencies: { log } }: LabelContext, memory: LabelMemory, left: number): void {
  if (left > 0 && memory.left === 0) log.warn({ volumes: left }, 'no room for labels of the newest volumes')
  if (left === 0 && memory.left > 0) log.info('all volumes have labels again')
  memory.left = left
}

/** Returns all that labels are made of, as text. It grows with the copies of volumes, not with nodes x volumes. */
function describeRoles(
  nodes: readonly SwarmNode[],
  nodeHosts: readonly (string | null)[],
  records: readonly VolumeRecord[],
): string {
  const ours = new Set(nodeHosts)
  const roles = records.map((record) => {
    const hosts = new Set([record.holder?.host ?? '', ...Object.keys(record.copies).toSorted()])
    const known = [...hosts].filter((host) => ours.has(host))
    return [record.name, known.map((host) => [host, roleOf(host, record)]).filter(([, role]) => role !== 'none')]
  })
  return JSON.stringify([nodes.map(({ id }) => id), nodeHosts, roles])
}

/** Returns what was seen of a node; null: it was changed a moment ago, and is not to be written. */
function noteVersion({ versions }: LabelMemory, { id, version }: SwarmNode, nowMs: number): SeenNode | null {
  const seen = versions.get(id)
  if (seen?.version !== version) versions.set(id, { version, sinceMs: nowMs, right: '' })
  return seen?.version === version && nowMs - seen.sinceMs >= QUIET_MS ? seen : null
}

/**
 * Returns the host of a node.
 * A host that left the Swarm and joined again has a new node, and one that was reinstalled on the same node a new id:
 * the newest heartbeat counts.
 */
function hostOf(hosts: readonly HostRecord[], node: string): HostRecord | undefined {
  return hosts.filter(({ swarmNode }) => swarmNode === node).sort((a, b) => Date.parse(b.at) - Date.parse(a.at))[0]
}

function isLabelled(node: SwarmNode, labels: Labels): boolean {
  return isDeepStrictEqual(ownLabels(node), labels)
}

/** Whether labels say the same of where data is: `!=none` sees no difference. */
function saysTheSame(node: SwarmNode, labels: Labels): boolean {
  const places = (all: Labels) => Object.fromEntries(Object.entries(all).map(([key, role]) => [key, role !== 'none']))
  return isDeepStrictEqual(places(ownLabels(node)), places(labels))
}

function ownLabels({ labels }: SwarmNode): Labels {
  return Object.fromEntries(Object.entries(labels).filter(([key]) => key.startsWith(LABEL_PREFIX)))
}

function toMessage(nodes: readonly SwarmNode[]): NodesMessage {
  return Object.fromEntries(
    nodes.map(({ id, labels, drained }) => [
      id,
      { zone: labels[ZONE_LABEL]?.slice(0, ZONE_MOST_CHARS) ?? null, drained },
    ]),
  )
}
