import type { VolumeRecord } from '../../model/model.ts'
import type { Context } from '../context.ts'
import { ComingBytes } from './coming-bytes.ts'
import type { PlacementHost } from './placement-host.ts'

/** Returns the hosts as placement sees them now. `coming`: bytes that are on their way to each. */
export function placementHosts(
  context: Pick<Context, 'dependencies' | 'hosts' | 'node'>,
  coming: Pick<ComingBytes, 'of'>,
): PlacementHost[] {
  const { self, replaceAfterMs } = context.dependencies
  return context.hosts.all().map(({ id, zone, draining, freeBytes, totalBytes }) => ({
    id,
    zone,
    draining: id === self.id ? isDraining(context) : draining,
    gone: context.hosts.silentMs(id) > replaceAfterMs,
    freeBytes,
    totalBytes,
    comingBytes: coming.of(id),
  }))
}

/** The same, by the records of some volumes alone. */
export function placementHostsFor(
  context: Pick<Context, 'dependencies' | 'hosts' | 'node'>,
  records: readonly VolumeRecord[],
): PlacementHost[] {
  const coming = new ComingBytes()
  for (const record of records) coming.note(record.name, record)
  return placementHosts(context, coming)
}

/** Whether an operator or Swarm drains this host. */
export function isDraining(context: Pick<Context, 'dependencies' | 'node'>): boolean {
  return context.dependencies.drainFlag.get() || context.node.drained
}
