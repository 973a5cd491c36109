import type Docker from 'dockerode'
import { ask, messageOf } from './asking.ts'
import type { Engine } from './contract.ts'

/** Somebody else (a person, another tool) changed the node between read and write: a few times in a row is no accident. */
const MOST_TRIES = 5

interface SwarmNode {
  ID: string
  Version: { Index: number }
  Spec: { Labels?: Record<string, string>; [field: string]: unknown }
}

/** Labels of Swarm nodes. A node is replaced as a whole; a version that is not its newest is refused (docs.docker.com/reference/api/engine, NodeUpdate). */
export function createNodeLabels(docker: Docker): Pick<Engine, 'nodeLabels' | 'setNodeLabels'> {
  return {
    nodeLabels: () =>
      ask('list nodes', async () => {
        const nodes = (await docker.listNodes()) as SwarmNode[]
        return new Map(nodes.map((node) => [node.ID, node.Spec.Labels ?? {}]))
      }),
    setNodeLabels: (node, prefix, labels) =>
      ask('label a node', async () => {
        for (let tries = 1; ; tries++) {
          const found = (await docker.getNode(node).inspect()) as SwarmNode
          const before = found.Spec.Labels ?? {}
          const others = Object.entries(before).filter(([name]) => !name.startsWith(prefix))
          const after = { ...Object.fromEntries(others), ...labels }
          if (isSame(before, after)) return
          try {
            await docker.getNode(node).update({
              _query: { version: found.Version.Index },
              _body: { ...found.Spec, Labels: after },
            })
            return
          } catch (error) {
            // Told by its words: the status is 500 in some versions and 409 in others.
            if (!messageOf(error).includes('out of sequence') || tries === MOST_TRIES) throw error
          }
        }
      }),
  }
}

function isSame(one: Readonly<Record<string, string>>, other: Readonly<Record<string, string>>): boolean {
  const names = Object.keys(one)
  return names.length === Object.keys(other).length && names.every((name) => one[name] === other[name])
}
