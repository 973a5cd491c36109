import Docker from 'dockerode'
import type { Logger } from 'pino'
import type { Engine, VolumeUser } from './contract.ts'
import { watchEvents } from './events.ts'
import { createNodeLabels } from './node-labels.ts'
import { createNodes } from './nodes.ts'
import { ask, nullIfGone } from './request.ts'
import { createServices } from './services.ts'
import { createStopCalls } from './stop-containers.ts'
import { createTasks } from './tasks.ts'

/** A healthy engine lists containers in milliseconds, under load in seconds. One that takes longer is away. */
const CALL_TIMEOUT_MS = 5_000

/** Creates a client of the engine. It connects to nothing yet: every call opens a connection of its own. */
export function createEngine(options: { socketPath: string; log: Logger }): Engine {
  const docker = new Docker({ socketPath: options.socketPath, timeout: CALL_TIMEOUT_MS })
  return {
    // A client without that time limit: dockerd sends nothing for up to 12 s while it kills.
    ...createStopCalls(new Docker({ socketPath: options.socketPath })),
    ...createNodeLabels(docker),
    ...createNodes(docker),
    ...createServices(docker),
    ...createTasks(docker),
    users: () => ask('list containers', async () => (await docker.listContainers({ all: true })).flatMap(toVolumeUser)),
    finishedAt: (container) =>
      ask('inspect a container', async () => {
        const found = await docker.getContainer(container).inspect().catch(nullIfGone)
        const at = new Date(found?.State.FinishedAt ?? NaN)
        return Number.isNaN(at.getTime()) || at.getTime() <= 0 ? null : at
      }),
    info: () =>
      ask('info', async () => {
        const info = (await docker.info()) as { Name: string; Swarm?: { NodeID?: string; ControlAvailable?: boolean } }
        const swarmNode = info.Swarm?.NodeID === undefined || info.Swarm.NodeID === '' ? null : info.Swarm.NodeID
        const leader =
          swarmNode !== null && info.Swarm?.ControlAvailable === true && (await isLeader(docker, swarmNode))
        return { name: info.Name, swarmNode, leader }
      }),
    localVolumes: () =>
      ask('list volumes', async () => {
        const found = await docker.listVolumes({ filters: { driver: ['local'] } })
        return (found.Volumes ?? []).map((volume) => volume.Name)
      }),
    watch: (handler, signal) => watchEvents({ socketPath: options.socketPath, log: options.log }, handler, signal),
  }
}

async function isLeader(docker: Docker, node: string): Promise<boolean> {
  const found = (await docker.getNode(node).inspect()) as { ManagerStatus?: { Leader?: boolean } }
  return found.ManagerStatus?.Leader === true
}

/** Volumes of drivers other than `local` count as Wherry's: an engine keeps volume names unique across its drivers. */
function toVolumeUser(container: Docker.ContainerInfo): VolumeUser[] {
  const volumes = container.Mounts.flatMap((mount) =>
    mount.Type === 'volume' && mount.Driver !== 'local' && mount.Name !== undefined ? [mount.Name] : [],
  )
  if (volumes.length === 0) return []
  const name = container.Names[0]?.replace(/^\//, '') ?? container.Id.slice(0, 12)
  return [{ id: container.Id, name, state: container.State, volumes }]
}
