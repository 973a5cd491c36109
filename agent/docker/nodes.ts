import type Docker from 'dockerode'
import type { Engine } from './contract.ts'
import { ask } from './request.ts'

interface ListedNode {
  ID: string
  Version: { Index: number }
  Spec: { Labels?: Record<string, string>; Availability?: string }
}

/** Creates the call that lists Swarm's nodes (docs.docker.com/reference/api/engine, NodeList). */
export function createNodes(docker: Docker): Pick<Engine, 'nodes'> {
  return {
    nodes: () =>
      ask('list nodes', async () =>
        ((await docker.listNodes()) as ListedNode[]).map(({ ID, Version, Spec }) => ({
          id: ID,
          version: Version.Index,
          labels: Spec.Labels ?? {},
          drained: Spec.Availability === 'drain',
        })),
      ),
  }
}
