import type { VolumeRecord } from '../../model/model.ts'
import type { Context } from '../context.ts'
import type { PlacementHost } from './policy.ts'

/** Returns the hosts as placement sees them now. */
export function placementHosts(
  context: Pick<Context, 'dependencies' | 'hosts' | 'node'>,
  records: readonly VolumeRecord[],
): PlacementHost[] {
  const { self, replaceAfterMs } = context.dependencies
  const coming = new Map<string, number>()
  for (const { copies, last } of records) {
    for (const [host, copy] of Object.entries(copies)) {
      if (copy.state === 'filling' && copy.kept) coming.set(host, (coming.get(host) ?? 0) + (last?.bytes ?? 0))
    }
  }
  return context.hosts.all().map(({ id, zone, draining, freeBytes, totalBytes }) => ({
    id,
    zone,
    draining: id === self.id ? isDraining(context) : draining,
    gone: context.hosts.silentMs(id) > replaceAfterMs,
    freeBytes,
    totalBytes,
    comingBytes: coming.get(id) ?? 0,
  }))
}

/** Whether an operator or Swarm drains this host. */
export function isDraining(context: Pick<Context, 'dependencies' | 'node'>): boolean {
  return context.dependencies.drainFlag.get() || context.node.drained
}
