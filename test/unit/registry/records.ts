import type { HostRecord, RemovedRecord, VolumeRecord } from '../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import type { HostSeals } from '../../../agent/registry/host-seal.ts'
import { JetStreamRegistry } from '../../../agent/registry/registry.ts'
import { eventually, type TestHost } from '../bus/server.ts'

export function volumeRecord(name: string, more: Partial<VolumeRecord> = {}): VolumeRecord {
  return {
    id: `01J${name}`,
    name,
    options: DEFAULT_OPTIONS,
    createdAt: '2026-01-01T00:00:00Z',
    epoch: 0,
    holder: null,
    last: null,
    seizures: [],
    copies: {},
    removedAt: null,
    ...more,
  }
}

export function removedRecord(id: string): RemovedRecord {
  return { id, name: `name of ${id}`, removedAt: '2026-01-01T00:00:00Z', hosts: ['h1'] }
}

export function hostRecord(id: string, at: string): HostRecord {
  const rest = {
    covered: {},
    diverged: {},
    namesakes: [],
    renewal: 1,
    expiredBy: null,
    freeBytes: 1,
    totalBytes: 2,
    zone: null,
    draining: false,
  }
  return {
    id,
    name: id,
    address: '127.0.0.1',
    transferPort: 1,
    incarnation: 'i',
    swarmNode: null,
    uses: {},
    at,
    ...rest,
  }
}

export async function openRegistry(host: TestHost, seals: HostSeals | null = null): Promise<JetStreamRegistry> {
  return new JetStreamRegistry({
    bus: host.bus,
    replicas: host.plan.replicas,
    oldStore: await host.embedded.oldStore(),
    seenPath: host.embedded.seenPath,
    manages: host.plan.runsServer,
    seals,
    log: host.log,
  })
}

export async function readyRegistry(host: TestHost, seals: HostSeals | null = null): Promise<JetStreamRegistry> {
  const registry = await openRegistry(host, seals)
  await isReady(registry)
  return registry
}

async function isReady(registry: JetStreamRegistry): Promise<void> {
  await eventually('the registry is ready', () => {
    const { ready, detail } = registry.state()
    if (!ready) throw new Error(detail)
    return true
  })
}

/** Registries of all hosts, ended together. */
export async function readyRegistries(
  hosts: readonly TestHost[],
): Promise<{ all: JetStreamRegistry[] } & AsyncDisposable> {
  const opened = await Promise.all(hosts.map((host) => openRegistry(host)))
  const all = {
    all: opened,
    [Symbol.asyncDispose]: async () => void (await Promise.all(opened.map((one) => one[Symbol.asyncDispose]()))),
  }
  try {
    await Promise.all(opened.map(isReady))
    return all
  } catch (error) {
    await all[Symbol.asyncDispose]()
    throw error
  }
}
