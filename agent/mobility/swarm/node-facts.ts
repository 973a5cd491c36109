import { z } from 'zod'
import type { Bus } from '../../bus/contract.ts'
import type { Context } from '../context.ts'
import type { Dependencies } from '../dependencies.ts'

/** The subject on which the leader's agent publishes the Swarm's nodes. */
export const NODES_SUBJECT = 'schedule.nodes'
/** A new agent learns of its own node this late at most. */
export const TELL_NODES_EVERY_MS = 30_000

const nodeFacts = z.object({ zone: z.string().nullable(), drained: z.boolean() })
/** By node id. A host reads the entry of its own node: a newer version may have put others beside it. */
export type NodesMessage = Readonly<Record<string, z.infer<typeof nodeFacts>>>
const nodesMessage = z.record(z.string(), z.unknown())

/** What following the nodes may touch. */
interface NodeContext extends Pick<Context, 'node'> {
  readonly dependencies: Pick<Dependencies, 'signal'> & { readonly bus: Pick<Bus, 'subscribe'> }
}

/**
 * Follows what Swarm says of this host's node, until the agent stops.
 * That is its label `zone`, and whether it is drained.
 * Only managers may read nodes (docs.docker.com/engine/swarm/manage-nodes), so the leader's agent publishes them. A
 * host outside the Swarm has neither.
 */
export function followNodes(context: NodeContext): void {
  const hear = (message: unknown) => {
    const nodes = nodesMessage.safeParse(message)
    const mine = nodeFacts.optional().safeParse(nodes.data?.[context.node.swarmNode ?? ''])
    if (!nodes.success || !mine.success) return
    context.node.zone = mine.data?.zone ?? null
    context.node.drained = mine.data?.drained ?? false
  }
  context.dependencies.bus.subscribe(NODES_SUBJECT, hear, context.dependencies.signal)
}
