import type { Host } from './host.ts'
import { until } from './poll.ts'

/** `managers`: losing one host of three keeps the control plane. `workers`: only h1 is a manager. */
export type SwarmRole = 'managers' | 'workers'

/** Joins the hosts into one Swarm, begun on the first; resolves when all nodes are ready. */
export async function joinSwarm(hosts: readonly Host[], role: SwarmRole): Promise<void> {
  const [first, ...others] = hosts
  if (first === undefined) return
  await first.docker(['swarm', 'init', '--advertise-addr', first.address])
  const kind = role === 'managers' ? 'manager' : 'worker'
  const { stdout: token } = await first.docker(['swarm', 'join-token', '--quiet', kind])
  const join = ['swarm', 'join', '--token', token.trim()]
  // Managers one after the other: each join changes the Raft group, and two changes at once make one of them wait.
  for (const host of others) {
    await host.docker([...join, '--advertise-addr', host.address, `${first.address}:2377`])
  }
  await until('all Swarm nodes ready', async () => {
    const { stdout } = await first.docker(['node', 'ls', '--format', '{{.Status}}'])
    return stdout.split('\n').filter((status) => status === 'Ready').length === hosts.length
  })
}
