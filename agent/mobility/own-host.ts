import type { Trouble, VolumeRecord } from '../model/model.ts'
import type { Context } from './context.ts'
import type { OwnHost } from './errors.ts'

/** Returns this host's label: "h2 (10.88.0.2)". */
export function ownLabel({ hosts, dependencies }: Pick<Context, 'dependencies' | 'hosts'>): string {
  return hosts.label(dependencies.self.id)
}

/** Returns what messages say about this host. */
export function ownHost(context: Pick<Context, 'dependencies' | 'hosts' | 'stateDisk'>): OwnHost {
  const { dependencies, stateDisk } = context
  return { label: ownLabel(context), leaseMs: dependencies.leaseMs, trouble: stateDisk.trouble }
}

/**
 * Returns why a host cannot release a volume, by this host's own record or by its heartbeat.
 * Null: it can.
 */
export function stuckAt(
  { dependencies, releaseTroubles, hosts }: Pick<Context, 'dependencies' | 'hosts' | 'releaseTroubles'>,
  host: string,
  { id }: Pick<VolumeRecord, 'id'>,
): Trouble | null {
  return host === dependencies.self.id ? releaseTroubles.of(id) : (hosts.get(host)?.stuck?.[id] ?? null)
}
