import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { ExecutionContext } from 'ava'
import type { Host } from '../../lab/host.ts'
import type { Lab } from '../../lab/lab.ts'
import { until } from '../../lab/poll.ts'
import { changeSwarm } from '../../lab/swarm.ts'
import { agentOf, inspect, type LabGround } from './fixture.ts'

/** What `docker service ps` says of one task, newest first. */
export interface ServiceTask {
  readonly name: string
  readonly node: string
  readonly desired: string
  readonly state: string
  readonly error: string
}

export interface ServiceWish {
  readonly name: string
  /** Values of --mount. */
  readonly mounts: readonly string[]
  /** Further arguments of `docker service create`. */
  readonly args?: readonly string[]
  /** Runs in a shell. */
  readonly script: string
  /** Busybox unless given. */
  readonly image?: string
}

const PATIENCE_MS = 120_000
const COLUMNS = ['Name', 'Node', 'DesiredState', 'CurrentState', 'Error']
const COMMON = ['--network', 'host', '--detach', '--no-resolve-image', '--stop-grace-period', '2s']

/** Appends a line with the next number and a word a few times a second, to one file or several. */
export function writing(word: string, ...files: string[]): string {
  const [first = '/data/log'] = files
  const lines = (files.length === 0 ? [first] : files).map((file) => `echo "$n ${word}" >>${file}`).join('; ')
  const next = `n=$(wc -l <${first} 2>/dev/null || echo 0)`
  return `trap 'exit 0' TERM; ${next}; while :; do n=$((n+1)); ${lines}; sleep 0.3; done`
}

/** The value of --mount for a volume of this driver, at /data unless `more` says otherwise. */
export function mountOf(source: string, more = 'destination=/data'): string {
  return `type=volume,source=${source},volume-driver=wherry,${more}`
}

/** Creates a service; does not wait for its tasks. */
export async function createService({ h1, image }: LabGround, wish: ServiceWish): Promise<void> {
  const mounts = wish.mounts.flatMap((mount) => ['--mount', mount])
  const words = [...COMMON, '--restart-delay', '1s', ...mounts, ...(wish.args ?? [])]
  await changeSwarm(h1, [
    'service',
    'create',
    '--name',
    wish.name,
    ...words,
    wish.image ?? image,
    'sh',
    '-c',
    wish.script,
  ])
}

/** Changes a service; does not wait for its tasks. */
export async function updateService({ h1 }: LabGround, name: string, ...args: string[]): Promise<void> {
  await changeSwarm(h1, ['service', 'update', '--detach', '--no-resolve-image', ...args, name])
}

/** Where a service may run. */
export function only(host: Host): string[] {
  return ['--constraint', `node.hostname==${host.name}`]
}

/** Has a service run on one host in place of another. */
export async function moveService(ground: LabGround, name: string, from: Host, to: Host): Promise<void> {
  const constraint = (host: Host) => `node.hostname==${host.name}`
  await updateService(ground, name, '--constraint-rm', constraint(from), '--constraint-add', constraint(to))
}

/** Lists a service's tasks, ended ones too. */
export async function tasksOf(manager: Host, service: string): Promise<ServiceTask[]> {
  const format = COLUMNS.map((column) => `{{.${column}}}`).join('\t')
  const { stdout } = await manager.docker(['service', 'ps', '--no-trunc', '--format', format, service])
  return stdout.split('\n').flatMap((line) => {
    const [name = '', node = '', desired = '', state = '', error = ''] = line.split('\t')
    return name === '' ? [] : [{ name: name.replace(/^ *\\_ */, ''), node, desired, state, error }]
  })
}

/** Resolves with the running tasks of a service, once there are this many. */
export async function running({ h2 }: LabGround, service: string, count = 1): Promise<ServiceTask[]> {
  return await until(
    `${count} tasks of ${service} run`,
    async () => {
      const tasks = (await tasksOf(h2, service)).filter(
        ({ desired, state }) => desired === 'Running' && state.startsWith('Running'),
      )
      return tasks.length === count && tasks
    },
    { timeoutMs: PATIENCE_MS, everyMs: 300 },
  )
}

/** Resolves when a service runs on this host and nowhere else. */
export async function runningOn(ground: LabGround, service: string, host: Host): Promise<void> {
  await until(
    `${service} runs on ${host.name}`,
    async () => (await running(ground, service)).every(({ node }) => node === host.name),
    { timeoutMs: PATIENCE_MS, everyMs: 300 },
  )
}

/** Resolves with the error of a task that failed. */
export async function failedTask({ h2 }: LabGround, service: string): Promise<ServiceTask> {
  return await until(
    `a task of ${service} fails`,
    async () => (await tasksOf(h2, service)).find(({ error }) => error !== ''),
    { timeoutMs: PATIENCE_MS, everyMs: 300 },
  )
}

/** The containers of a service that run on a host. */
export async function containersOf(host: Host, service: string): Promise<string[]> {
  const filter = ['--filter', `label=com.docker.swarm.service.name=${service}`, '--filter', 'status=running']
  const { stdout } = await host.docker(['ps', '-q', '--no-trunc', ...filter])
  return stdout.split('\n').filter((id) => id !== '')
}

/** Runs a shell command in the one container of a service on a host. */
export async function within(host: Host, service: string, script: string): Promise<string> {
  const [container = ''] = await containersOf(host, service)
  return (await host.docker(['exec', container, 'sh', '-c', script])).stdout
}

/** Reads a file of a volume as it is on a host's disk. */
export async function fileOf(host: Host, volume: string, path: string): Promise<string> {
  await using agent = agentOf(host)
  return await readFile(`${host.stateSeen}/volumes/${(await agent.get(volume)).id}/data/${path}`, 'utf8')
}

/** Asserts that lines were numbered one after the other, whoever wrote them; returns their words. */
export function wordsInOrder(t: ExecutionContext<LabGround>, log: string): string[] {
  const lines = log
    .trimEnd()
    .split('\n')
    .map((line) => line.split(' '))
  const numbers = lines.map(([number]) => Number(number))
  t.deepEqual(
    numbers,
    numbers.map((_, nth) => nth + 1),
    'one unbroken line of writers',
  )
  return lines.map(([, word = '']) => word)
}

/**
 * Removes services, and asserts that they leave nothing: every volume is idle with its final checkpoint, no host has it
 * mounted. Then removes the volumes, each on another host, and asserts that none is listed or lies in `volumes/`.
 */
export async function leaveNothing(
  t: ExecutionContext<LabGround>,
  services: readonly string[],
  volumes: readonly string[],
): Promise<void> {
  const { lab, h1 } = t.context
  if (services.length > 0) await changeSwarm(h1, ['service', 'rm', ...services])
  // A task that still waits for a volume gets it, and is ended then.
  const ids = await until(
    `${volumes} are idle`,
    async () => {
      const found = await Promise.all(volumes.map((volume) => idleId(lab, volume)))
      const mounts = await Promise.all(lab.hosts.map((host) => host.exec(['cat', '/proc/mounts'])))
      const isMounted = (id: string) => mounts.some(({ stdout }) => stdout.includes(id))
      return found.every((id) => id !== null && !isMounted(id)) && found.filter((id) => id !== null)
    },
    { timeoutMs: PATIENCE_MS, everyMs: 300 },
  )
  await Promise.all(volumes.map((volume, nth) => removeVolume(lab.host((nth % lab.hosts.length) + 1), volume)))
  for (const host of lab.hosts) {
    for (const volume of volumes) t.is(await inspect(host, volume), null, `${volume} on ${host.name}`)
    await until(`${host.name} has no copy of ${volumes}`, () =>
      ids.every((id) => !existsSync(`${host.stateSeen}/volumes/${id}`)),
    )
  }
}

/** The volume's id; null while a host holds it. */
async function idleId(lab: Lab, volume: string): Promise<string | null> {
  await using agent = agentOf(lab.host(2))
  const { id, holder, last } = await agent.get(volume)
  return holder === null && last !== null ? id : null
}

/** Removes a volume as soon as Swarm has removed the containers of its tasks, which takes it some seconds. */
async function removeVolume(host: Host, volume: string): Promise<void> {
  await until(`${volume} is removed`, async () => {
    const { code, stderr } = await host.docker(['volume', 'rm', volume], { allowFailure: true })
    if (code !== 0) throw new Error(stderr)
    return true
  })
}
