import { globSync, rmSync, writeFileSync } from 'node:fs'
import { run } from '../lab/command.ts'
import type { Host } from '../lab/host.ts'
import { until } from '../lab/poll.ts'
import { agentReady } from './agent.ts'
import type { Service } from './service.ts'

const NODE_TIMEOUT_MS = 120_000

interface Place {
  readonly manager: Host
  readonly service: Service
}

/**
 * Starts a host whose power was cut, as after a reboot: nothing of its disk is in memory, and its agent does not know
 * any more which of its files are as they were. Returns the seconds until it has a copy at the newest checkpoint.
 */
export async function returnToService({ manager, service }: Place, host: Host): Promise<number> {
  await forget(host)
  const startMs = Date.now()
  await host.boot()
  await agentReady(host)
  const look = ['node', 'inspect', '-f', '{{.Status.State}}', host.name]
  await until(`${host.name}: ready`, async () => (await manager.docker(look)).stdout.trim() === 'ready', {
    timeoutMs: NODE_TIMEOUT_MS,
  })
  await service.copied(service.other(host))
  const seconds = (Date.now() - startMs) / 1000
  // Nobody looks at them here, and they are as large as the volume.
  for (const tree of globSync(`${host.stateDir}/volumes/*/diverged/*`)) rmSync(tree, { recursive: true })
  return seconds
}

/** Hosts of the lab have the machine's boot id, by which agents know a reboot, and its page cache. */
async function forget(host: Host): Promise<void> {
  for (const seen of globSync(`${host.stateDir}/volumes/*/last.seen`)) rmSync(seen)
  await run('sync', [])
  writeFileSync('/proc/sys/vm/drop_caches', '1\n')
}
