import type Docker from 'dockerode'
import type { Engine } from './contract.ts'
import { ask, messageOf } from './request.ts'

interface SwarmNode {
  ID: string
  Version: { Index: number }
  Spec: { Labels?: Record<string, string>; [field: string]: unknown }
}

/**
 * Creates the calls for labels of Swarm nodes.
 * A node is replaced as a whole, and only at its newest version (docs.docker.com/reference/api/engine, NodeUpdate).
 */
export function createNodeLabels(docker: Docker): Pick<Engine, 'nodeLabels' | 'setNodeLabels'> {
  return {
    nodeLabels: () =>
      ask('list nodes', async () => {
        const nodes = (await docker.listNodes()) as SwarmNode[]
        return new Map(nodes.map((node) => [node.ID, node.Spec.Labels ?? {}]))
      }),
    setNodeLabels: (node, version, prefix, labels) =>
      ask('label a node', async () => {
        const found = (await docker.getNode(node).inspect()) as SwarmNode
        if (found.Version.Index !== version) return false
        const before = found.Spec.Labels ?? {}
        const others = Object.entries(before).filter(([name]) => !name.startsWith(prefix))
        const after = { ...Object.fromEntries(others), ...labels }
        if (isSame(before, after)) return true
        try {
          await docker.getNode(node).update({
            _query: { version },
            _body: { ...found.Spec, Labels: after },
          })
          return true
        } catch (error) {
          // Recognised by its text: the status is 500 in some versions and 409 in others.
          if (messageOf(error).includes('out of sequence')) return false
          throw error
        }
      }),
  }
}

function isSame(one: Readonly<Record<string, string>>, other: Readonly<Record<string, string>>): boolean {
  const names = Object.keys(one)
  return names.length === Object.keys(other).length && names.every((name) => one[name] === other[name])
}
