import type { ExecutionContext } from 'ava'
import type { Host } from '../../lab/host.ts'
import { until } from '../../lab/poll.ts'
import type { LabGround } from './fixture.ts'
import { fileOf, running, writing } from './services.ts'

const NAME = 'shop'
const PARTS = ['a', 'b', 'c', 'd', 'e', 'f']
const DIRECTORIES = ['v1', 'v2', 'v3', 'v4', 'v5']

/** The services of the stack, each with five volumes. */
export const STACK_SERVICES = PARTS.map((part) => `${NAME}_${part}`)
export const STACK_VOLUMES = PARTS.flatMap((part) => DIRECTORIES.map((directory) => `${NAME}_${part}-${directory}`))

/** The stack's file; JSON is YAML. The lab's kernel has no IPVS, so its services are in the host's network. */
export function stackFile(image: string, driverOptions: Readonly<Record<string, string>>): string {
  const script = writing('$TASK', ...DIRECTORIES.map((directory) => `/${directory}/log`))
  const services = PARTS.map((part) => [
    part,
    {
      image,
      command: ['sh', '-c', script.replaceAll('$', '$$$$')],
      environment: { TASK: '{{.Task.ID}}' },
      stop_grace_period: '2s',
      networks: ['outside'],
      volumes: DIRECTORIES.map((directory) => `${part}-${directory}:/${directory}`),
    },
  ])
  const volumes = PARTS.flatMap((part) =>
    DIRECTORIES.map((directory) => [`${part}-${directory}`, { driver: 'wherry', driver_opts: driverOptions }]),
  )
  return JSON.stringify({
    version: '3.8',
    services: Object.fromEntries(services),
    volumes: Object.fromEntries(volumes),
    networks: { outside: { external: true, name: 'host' } },
  })
}

/** Deploys the stack, or changes it. */
export async function deployStack(manager: Host, file: string): Promise<void> {
  const deploy = ['stack', 'deploy', '--resolve-image', 'never', '--compose-file', '-', NAME]
  await until('the stack is deployed', async () => (await manager.docker(deploy, { input: file })).code === 0)
}

/** Removes the stack's services; the volumes stay. */
export async function removeStack(manager: Host): Promise<void> {
  await manager.docker(['stack', 'rm', NAME])
}

/** What the first service has written to its first volume. */
export async function stackLog(ground: LabGround): Promise<string> {
  const [service = ''] = STACK_SERVICES
  const [volume = ''] = STACK_VOLUMES
  const [{ node = '' } = {}] = await running(ground, service)
  return await fileOf(ground.lab.hosts.find(({ name }) => name === node) ?? ground.h1, volume, 'log')
}

/**
 * Asserts that a later log of one volume goes on from an earlier one, and that a second task is in it.
 * Old and new task may share the volume for a moment on one host, so only the numbers of each task are in order.
 */
export function logGoesOn(t: ExecutionContext<LabGround>, earlier: string, later: string): void {
  t.is(later.slice(0, earlier.length), earlier, 'what was there is still there')
  const found = new Map<string, number>()
  const lines = later.trimEnd().split('\n')
  for (const [before, line] of lines.entries()) {
    const [number = '', task = ''] = line.split(' ')
    const last = found.get(task)
    // A new task counts the lines that it finds; an old one may write some more before the new one's first line.
    if (last === undefined) t.true(Number(number) > 0 && Number(number) <= before + 1, line)
    else t.is(Number(number), last + 1, line)
    found.set(task, Number(number))
  }
}

/** Tells how many tasks wrote a log. */
export function tasksIn(log: string): number {
  return new Set(
    log
      .trimEnd()
      .split('\n')
      .map((line) => line.split(' ')[1]),
  ).size
}
