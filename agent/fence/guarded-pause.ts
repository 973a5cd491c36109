import type { Engine, VolumeUser } from '../docker/contract.ts'
import type { Guard, Pause, Pauses } from './contract.ts'

/**
 * One look of a fence: pauses every container that runs with one of the guarded volumes, and answers those that are
 * paused by this now; none: nothing of it runs. ENGINE_UNREACHABLE, also when only some could be paused. May be
 * repeated.
 */
export async function pauseGuarded(
  { pauses, engine }: { readonly pauses: Pauses; readonly engine: Pick<Engine, 'users'> },
  guard: Pick<Guard, 'volumes'>,
): Promise<readonly Pause[]> {
  const due = (await engine.users()).flatMap((user) => toFence(user, guard))
  return due.length === 0 ? [] : await pauses.pause(due)
}

/** What must be paused now: what runs, and what will in a moment. */
function toFence(user: VolumeUser, guard: Pick<Guard, 'volumes'>): Pause[] {
  const volumes = guard.volumes.filter(({ name }) => user.volumes.includes(name)).map(({ id }) => id)
  if (volumes.length === 0) return []
  const runs = user.state === 'running' || user.state === 'restarting'
  return runs ? [{ container: user.id, volumes }] : []
}
