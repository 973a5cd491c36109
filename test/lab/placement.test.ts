import type { Host } from '../../lab/host.ts'
import { until } from '../../lab/poll.ts'
import { agentOf, onLab, sleeper } from './fixture.ts'

const test = onLab({ swarm: true }, {})

/** Longer than the leader needs to write new labels, and Swarm to act on them. */
const SETTLE_MS = 15_000

test.serial(
  'nodes say who has a volume; a service bound to them stays when its host becomes the holder; a drained node gives its copy away',
  async (t) => {
    t.timeout(240_000)
    const { lab, h1, image } = t.context
    await sleeper(h1, t.context, 'data', 'first')
    await roles(lab.hosts, ['copy', 'holder', 'none'])
    t.is(await roleOf(h1, h1), 'holder')
    await h1.docker(['rm', '-f', 'first'])

    const mount = 'type=volume,source=data,destination=/data,volume-driver=wherry'
    const bound = ['--constraint', 'node.labels.wherry.data!=none', '--mount', mount]
    const common = ['--name', 'bound', '--network', 'host', '--detach', '--no-resolve-image']
    await h1.docker(['service', 'create', ...common, ...bound, image, 'sleep', '3600'])
    await roles(lab.hosts, ['copy', 'holder', 'none'])
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS))
    const { stdout } = await h1.docker(['service', 'ps', 'bound', '--format', '{{.CurrentState}}'])
    t.regex(stdout, /^Running[^\n]*\n$/, 'one task, never replaced')

    const before = await rolesOf(lab.hosts)
    const leaving = lab.hosts.find((_, nth) => before[nth] === 'copy')
    const free = lab.hosts.find((_, nth) => before[nth] === 'none')
    if (leaving === undefined || free === undefined) throw new Error(`roles are ${before}`)
    await h1.docker(['node', 'update', '--availability', 'drain', await nodeOf(leaving)])
    await until(
      'the copy has moved',
      async () => (await roleOf(h1, free)) === 'copy' && (await roleOf(h1, leaving)) === 'none',
    )
    await using agent = agentOf(free)
    t.deepEqual(
      (await agent.hosts()).filter(({ draining }) => draining).map(({ name }) => name),
      [leaving.name],
    )
    await h1.docker(['service', 'rm', 'bound'])
  },
)

async function nodeOf(host: Host): Promise<string> {
  return (await host.docker(['info', '--format', '{{.Swarm.NodeID}}'])).stdout.trim()
}

/** What the Swarm says of a host's part in the volume. */
async function roleOf(manager: Host, host: Host): Promise<string | undefined> {
  const { stdout } = await manager.docker(['node', 'inspect', await nodeOf(host), '--format', '{{json .Spec.Labels}}'])
  return (JSON.parse(stdout) as Record<string, string> | null)?.['wherry.data']
}

async function rolesOf(hosts: readonly Host[]): Promise<(string | undefined)[]> {
  const [manager] = hosts
  if (manager === undefined) return []
  return await Promise.all(hosts.map((host) => roleOf(manager, host)))
}

async function roles(hosts: readonly Host[], wanted: readonly string[]): Promise<void> {
  await until(`the labels ${wanted}`, async () => (await rolesOf(hosts)).toSorted().join() === wanted.join(), {
    timeoutMs: 90_000,
  })
}
