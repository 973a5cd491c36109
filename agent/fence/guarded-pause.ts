import type { Engine, VolumeUser } from '../docker/contract.ts'
import type { Guard, Pause, Pauses } from './contract.ts'

/**
 * Pauses every container that runs with a guarded volume, and returns those that this call paused.
 * Returns none when nothing of it runs. One scan: containers that start meanwhile need another call.
 * ENGINE_UNREACHABLE: also when only some could be paused. May be repeated.
 */
export async function pauseGuarded(
  { pauses, engine }: { readonly pauses: Pauses; readonly engine: Pick<Engine, 'users'> },
  guard: Pick<Guard, 'volumes'>,
): Promise<readonly Pause[]> {
  const guarded = Map.groupBy(guard.volumes, ({ name }) => name)
  const due = (await engine.users()).flatMap((user) => toFence(user, guarded))
  return due.length === 0 ? [] : await pauses.pause(due)
}

/** The pause of a container that runs, or will in a moment. */
function toFence(user: VolumeUser, guarded: ReadonlyMap<string, Guard['volumes']>): Pause[] {
  // A container may mount a volume at two places.
  const names = [...new Set(user.volumes)]
  const volumes = names.flatMap((name) => guarded.get(name) ?? []).map(({ id }) => id)
  if (volumes.length === 0) return []
  const runs = user.state === 'running' || user.state === 'restarting'
  return runs ? [{ container: user.id, volumes }] : []
}
