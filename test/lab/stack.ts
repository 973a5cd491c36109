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
  const script = writing('x', ...DIRECTORIES.map((directory) => `/${directory}/log`))
  const services = PARTS.map((part) => [
    part,
    {
      image,
      command: ['sh', '-c', script.replaceAll('$', '$$$$')],
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
