import type Docker from 'dockerode'
import type { Engine, SwarmService } from './contract.ts'
import { ask } from './request.ts'

interface Info {
  Swarm?: { NodeID?: string; LocalNodeState?: string; ControlAvailable?: boolean }
}

interface ListedService {
  ID: string
  Spec?: {
    Name?: string
    TaskTemplate?: {
      ContainerSpec?: {
        Mounts?: { Type?: string; Source?: string; VolumeOptions?: { DriverConfig?: { Name?: string } } }[]
      }
    }
  }
}

/** Creates the call that lists Swarm's services (docs.docker.com/reference/api/engine, ServiceList). */
export function createServices(docker: Docker): Pick<Engine, 'services'> {
  return {
    services: () =>
      ask('list services', async () => {
        const { Swarm: swarm } = (await docker.info()) as Info
        // A node that is locked or has an error is still in a Swarm.
        if (swarm === undefined || (swarm.LocalNodeState ?? 'inactive') === 'inactive') return 'none'
        if (swarm.ControlAvailable !== true) return 'worker'
        return ((await docker.listServices()) as unknown as ListedService[]).flatMap(toService)
      }),
  }
}

function toService({ ID, Spec }: ListedService): SwarmService[] {
  const volumes = (Spec?.TaskTemplate?.ContainerSpec?.Mounts ?? []).flatMap(({ Type, Source, VolumeOptions }) => {
    const isOurs = Type === 'volume' && VolumeOptions?.DriverConfig?.Name !== 'local'
    return isOurs && Source !== undefined && Source !== '' ? [Source] : []
  })
  return volumes.length === 0 ? [] : [{ name: Spec?.Name ?? ID, volumes }]
}
