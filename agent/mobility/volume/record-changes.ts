import type { RecordChange } from '../../registry/contract.ts'
import type { Context } from '../context.ts'
import { RECONCILE } from '../wakeups.ts'
import { noteRemoval } from './tombstones.ts'

/**
 * Wakes what depends on a record when it has changed, until the agent stops.
 * A change of a volume that this host has nothing to do with wakes nothing but those who wait for it.
 */
export function watchRegistry(
  context: Pick<
    Context,
    | 'dependencies'
    | 'wakeups'
    | 'catchUp'
    | 'namesakes'
    | 'localCopies'
    | 'pendingMounts'
    | 'placementDue'
    | 'confirmed'
    | 'removalsSeen'
  >,
): void {
  const { dependencies, wakeups, catchUp, namesakes, placementDue } = context
  dependencies.registry.watch((change) => {
    wakeups.wake(change?.name ?? null)
    if (change === null) {
      placementDue.sweepMs = Number.NEGATIVE_INFINITY
      wakeups.wake(RECONCILE)
      return
    }
    placementDue.changed.add(change.name)
    namesakes.note(change.name)
    if (!concernsHost(context, change)) return
    if (change.entry != null) noteRemoval(context, change.entry.value)
    wakeups.wake(RECONCILE)
    catchUp.note(change.name)
  }, dependencies.signal)
}

/** Whether the volume has a copy, a hold or a pending Mount here, or its record named this host. */
function concernsHost(
  { dependencies, localCopies, pendingMounts }: Pick<Context, 'dependencies' | 'localCopies' | 'pendingMounts'>,
  { name, hosts }: RecordChange,
): boolean {
  return hosts.includes(dependencies.self.id) || pendingMounts.has(name) || localCopies.has(name)
}
