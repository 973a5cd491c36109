import type Docker from 'dockerode'
import type { Engine, PlacedTask } from './contract.ts'
import { ask } from './request.ts'

/** Tasks in these states will not run again, whatever their desired state. */
const ENDED_STATES = new Set(['complete', 'failed', 'shutdown', 'rejected', 'orphaned', 'remove'])
/** The desired state of a replacement is `ready` while the old task still stops, and `running` after that. */
const WANTED_STATES = new Set(['ready', 'running'])
const SERVICE_NAME = '.Service.Name'

interface SwarmTask {
  ID: string
  ServiceID?: string
  NodeID?: string
  /** 0 or missing: a task of a global service. */
  Slot?: number
  DesiredState?: string
  Status?: { State?: string }
  Spec?: { ContainerSpec?: { Mounts?: ListedMount[] } }
}

interface ListedMount {
  Type?: string
  Source?: string
  VolumeOptions?: { DriverConfig?: { Options?: Record<string, string> | null } }
}

interface VolumeMount {
  readonly source: string
  readonly options: Readonly<Record<string, string>>
}

/** Creates the call that lists Swarm's tasks (docs.docker.com/reference/api/engine, TaskList). */
export function createTasks(docker: Docker): Pick<Engine, 'tasks'> {
  return {
    tasks: () =>
      ask('list tasks', async () => {
        const tasks = ((await docker.listTasks()) as unknown as SwarmTask[]).filter(isWanted)
        const isNamed = tasks.some((task) => mountsOf(task).some(({ source }) => source.includes(SERVICE_NAME)))
        const names = isNamed ? await serviceNames(docker) : new Map<string, string>()
        return tasks.flatMap((task) => toPlacedTask(task, names.get(task.ServiceID ?? '')))
      }),
  }
}

async function serviceNames(docker: Docker): Promise<Map<string, string>> {
  const services = (await docker.listServices()) as unknown as { ID: string; Spec?: { Name?: string } }[]
  return new Map(services.map(({ ID, Spec }) => [ID, Spec?.Name ?? '']))
}

function isWanted({ DesiredState, Status }: SwarmTask): boolean {
  return WANTED_STATES.has(DesiredState ?? '') && !ENDED_STATES.has(Status?.State ?? '')
}

function mountsOf({ Spec }: SwarmTask): VolumeMount[] {
  return (Spec?.ContainerSpec?.Mounts ?? []).flatMap(({ Type, Source, VolumeOptions }) =>
    Type === 'volume' && Source !== undefined && Source !== ''
      ? [{ source: Source, options: VolumeOptions?.DriverConfig?.Options ?? {} }]
      : [],
  )
}

function toPlacedTask(task: SwarmTask, serviceName: string | undefined): PlacedTask[] {
  const { ID, ServiceID = '', NodeID = '', Slot = 0 } = task
  if (NodeID === '') return []
  const fields = new Map([
    ['.Task.ID', ID],
    ['.Task.Slot', Slot === 0 ? NodeID : String(Slot)],
    ['.Service.ID', ServiceID],
    [SERVICE_NAME, serviceName],
    ['.Node.ID', NodeID],
  ])
  const mounts = mountsOf(task).flatMap(({ source, options }) => {
    return fillIn(source, fields).map((volume) => ({ volume, options }))
  })
  if (mounts.length === 0) return []
  const asked = mounts.filter(({ options }) => Object.keys(options).length > 0)
  const options = Object.fromEntries(asked.map((mount) => [mount.volume, withoutTemplates(mount.options)]))
  return [{ task: ID, service: ServiceID, node: NodeID, volumes: mounts.map(({ volume }) => volume), options }]
}

/** Leaves out options whose values the node fills in. */
function withoutTemplates(options: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => !value.includes('{{')))
}

/**
 * Fills in what a template takes from its task, as the node does later (swarmkit, template/context.go).
 * Empty: it takes something that is not known here.
 */
function fillIn(source: string, fields: ReadonlyMap<string, string | undefined>): string[] {
  const filled = source.replaceAll(/\{\{\s*(\.[A-Za-z.]+)\s*\}\}/g, (all, field: string) => fields.get(field) || all)
  return filled.includes('{{') ? [] : [filled]
}
