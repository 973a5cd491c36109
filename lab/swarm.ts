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

/** Two elections of managers, each with requests that ran into their deadline of 20 s before. */
const CHANGE_TIMEOUT_MS = 90_000
/** Such a request may have been carried out all the same; the next one then finds it done. */
const DONE_BEFORE = /not found|name conflicts/

/**
 * Runs a `docker service` or `docker node` command; again, while the managers choose a leader after a host came back.
 */
export async function changeSwarm(manager: Host, command: readonly string[]): Promise<void> {
  await until(
    `docker ${command.slice(0, 2).join(' ')}`,
    async () => {
      const { code, stderr } = await manager.docker([...command], { allowFailure: true })
      if (code !== 0 && !DONE_BEFORE.test(stderr)) throw new Error(stderr)
      return true
    },
    { timeoutMs: CHANGE_TIMEOUT_MS },
  )
}
