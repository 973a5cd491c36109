import type { Host } from './host.ts'

/** A Mount call that Wherry answered with a mountpoint; times as Date.now() tells. */
export interface MountCall {
  readonly askedMs: number
  readonly answeredMs: number
}

/** Where the time of an unplanned move went, one part after the other, in seconds. */
export interface Blackout {
  readonly total: number
  /** Until Swarm placed the task on another host. */
  readonly swarm: number
  /** Until that host's engine first asked for the volume. */
  readonly engine: number
  /** Until the last Mount was answered. */
  readonly wherry: number
  /** Until the container ran. */
  readonly container: number
  /** Until the program in it served. */
  readonly program: number
}

interface Task {
  readonly createdMs: number
  /** Empty while there is none. */
  readonly containerId: string
}

/** The lines as the engine prints those of a plugin: each quoted as a message of its own. */
const MOUNTED = /wherry INFO (\S+) agent: mounted volume=(\S+) mountId=\S+ waitMs=(\d+)/g

/** The Mount calls for a volume that a host's agent answered, by its log, oldest first. */
export function mountCalls(host: Host, volume: string): MountCall[] {
  return [...host.engineLog().matchAll(MOUNTED)]
    .filter(([, , name]) => name === volume)
    .map(([, time = '', , waitMs]) => ({ askedMs: Date.parse(time) - Number(waitMs), answeredMs: Date.parse(time) }))
}

export interface UnplannedMove {
  readonly service: string
  readonly volume: string
  readonly to: Host
  /** When the old host ended, and when the new one's program served. */
  readonly cutMs: number
  readonly servedMs: number
}

/**
 * Splits the blackout of a service of one container that was started elsewhere. Rejects while Swarm's manager on
 * the new host cannot say, or says of no task there; may be repeated.
 */
export async function splitBlackout({ service, volume, to, cutMs, servedMs }: UnplannedMove): Promise<Blackout> {
  const tasks = (await tasksOn(to, service)).filter(({ createdMs }) => createdMs >= cutMs)
  const placedMs = Math.min(...tasks.map(({ createdMs }) => createdMs))
  const mounts = mountCalls(to, volume).filter(({ askedMs, answeredMs }) => askedMs >= cutMs && answeredMs <= servedMs)
  const askedMs = Math.min(...mounts.map((mount) => mount.askedMs))
  const mountedMs = Math.max(...mounts.map((mount) => mount.answeredMs))
  const startedMs = Math.max(...(await Promise.all(tasks.map((task) => startOf(to, task)))))
  const moments = [cutMs, placedMs, askedMs, mountedMs, startedMs, servedMs]
  if (!moments.every(Number.isFinite)) throw new Error(`${to.name} did not take ${service} over: ${moments}`)
  const [swarm = 0, engine = 0, wherry = 0, container = 0, program = 0] = moments
    .slice(1)
    .map((moment, index) => seconds(moment - (moments[index] ?? 0)))
  return { total: seconds(servedMs - cutMs), swarm, engine, wherry, container, program }
}

async function tasksOn(host: Host, service: string): Promise<Task[]> {
  const { stdout } = await host.docker(['service', 'ps', '-q', '--no-trunc', '--filter', `node=${host.name}`, service])
  const ids = stdout.split('\n').filter((id) => id !== '')
  if (ids.length === 0) return []
  const inspected = await host.docker(['inspect', '--type', 'task', ...ids])
  return (JSON.parse(inspected.stdout) as SwarmTask[]).map(({ CreatedAt, Status }) => ({
    createdMs: Date.parse(CreatedAt),
    containerId: Status.ContainerStatus?.ContainerID ?? '',
  }))
}

interface SwarmTask {
  readonly CreatedAt: string
  readonly Status: { readonly ContainerStatus?: { readonly ContainerID?: string } }
}

async function startOf(host: Host, { containerId }: Task): Promise<number> {
  if (containerId === '') return Number.NEGATIVE_INFINITY
  const started = await host.docker(['inspect', '-f', '{{.State.StartedAt}}', containerId], { allowFailure: true })
  // A container that was never started says so with the year 1.
  return started.code === 0 ? Date.parse(started.stdout.trim()) : Number.NEGATIVE_INFINITY
}

function seconds(ms: number): number {
  return Math.round(ms) / 1000
}
