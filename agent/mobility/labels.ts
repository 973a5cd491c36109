import type { SwarmNode } from '../docker/contract.ts'
import type { HostRecord, VolumeRecord } from '../model.ts'
import type { Core } from './core.ts'
import { NODES_SUBJECT, type NodesMessage, TELL_NODES_EVERY_MS } from './placement-node.ts'

const LABEL_PREFIX = 'wherry.'
/** The node label by which copies are spread. */
const ZONE_LABEL = 'zone'
/** Records change with every checkpoint; a node's labels are written at most this often. */
const LOOK_EVERY_MS = 5_000

const NODES = '/nodes'

/** While this engine is the Swarm's leader: tells all hosts what Swarm says of their nodes, and keeps the nodes' labels true. Until the agent stops. */
export async function leadNodes(core: Core): Promise<void> {
  const { bus, clock, engine, signal, log } = core.parts
  bus.subscribe('schedule.node', () => core.wakes.wake(NODES), signal)
  let told = ''
  let toldMs = Number.NEGATIVE_INFINITY
  while (!signal.aborted) {
    try {
      if (core.engine.leader) {
        const nodes = await engine.nodes()
        const message = JSON.stringify(toMessage(nodes))
        if (message !== told || clock.elapsedMs() - toldMs >= TELL_NODES_EVERY_MS) {
          bus.publish(NODES_SUBJECT, toMessage(nodes))
          told = message
          toldMs = clock.elapsedMs()
        }
        await labelNodes(core, nodes)
      }
    } catch (error) {
      if (!signal.aborted) log.debug({ err: error }, 'could not look at the nodes')
    }
    await core.wakes.wait(NODES, (until) => clock.sleep(LOOK_EVERY_MS, until), signal)
  }
}

/**
 * The labels of one node: for each volume whether its host is the `holder`, has a `copy`, or has `none`. All three are said, because Swarm stops a
 * running task as soon as its node does not meet its constraints any more (swarmkit, ConstraintEnforcer), and a copy becomes the
 * holder when its task starts: `node.labels.wherry.data!=none` stays true through that.
 */
export function labelsOf(host: string | null, records: readonly VolumeRecord[]): Readonly<Record<string, string>> {
  // One that was never used has no data anywhere: no node is said to lack it, so that its first task may go to any.
  const used = records.filter(({ holder, last }) => holder !== null || last !== null)
  return Object.fromEntries(used.map((record) => [`${LABEL_PREFIX}${record.name}`, roleOf(host, record)]))
}

/** A copy that is a little behind is still a copy: labels must not change with every checkpoint. */
function roleOf(host: string | null, record: VolumeRecord): 'holder' | 'copy' | 'none' {
  if (host === null) return 'none'
  if (record.holder?.host === host) return 'holder'
  const state = record.copies[host]?.state
  return state === 'current' || state === 'behind' ? 'copy' : 'none'
}

async function labelNodes(core: Core, nodes: readonly SwarmNode[]): Promise<void> {
  const { cache, engine } = core.parts
  const { entries, stale } = await cache.list()
  if (stale) return
  const records = entries.map(({ value }) => value).filter(({ removedAt }) => removedAt === null)
  for (const node of nodes) {
    const labels = labelsOf(hostOf(core.hosts.all(), node.id)?.id ?? null, records)
    if (!isLabelled(node, labels)) await engine.setNodeLabels(node.id, LABEL_PREFIX, labels)
  }
}

/** A host that left the Swarm and joined again has a new node; one made anew on the same node a new id: the one heard of last counts. */
function hostOf(hosts: readonly HostRecord[], node: string): HostRecord | undefined {
  return hosts.filter(({ swarmNode }) => swarmNode === node).sort((a, b) => Date.parse(b.at) - Date.parse(a.at))[0]
}

function isLabelled(node: SwarmNode, labels: Readonly<Record<string, string>>): boolean {
  const ours = Object.entries(node.labels).filter(([key]) => key.startsWith(LABEL_PREFIX))
  return ours.length === Object.keys(labels).length && ours.every(([key, value]) => labels[key] === value)
}

function toMessage(nodes: readonly SwarmNode[]): NodesMessage {
  return Object.fromEntries(nodes.map(({ id, labels, drained }) => [id, { zone: labels[ZONE_LABEL] ?? null, drained }]))
}
