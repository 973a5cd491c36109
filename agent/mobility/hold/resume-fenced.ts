import type { Guard, Pause } from '../../fence/contract.ts'
import { pauseGuarded } from '../../fence/guarded-pause.ts'
import { nullOnAbort } from '../../runtime/abort.ts'
import type { Context } from '../context.ts'
import { forEachVolume } from '../for-each-volume.ts'
import { confirmHold, retractHold } from './confirm-hold.ts'
import { giveUpHold } from './give-up-hold.ts'

/** An engine that starts does not reply, and its first containers wait for a lease. */
const START_FENCE_MS = 3_000

/**
 * Pauses what the watchdog would pause at the end of the lease; resolves when it is paused.
 * Others have ended the lease, and may hold by now what runs here. At the agent's start (`isStart`) it waits a moment
 * only, and leaves the rest to the confirmation of each hold.
 * Rejects ENGINE_UNREACHABLE, also when some of it still runs. May be repeated.
 */
export async function fenceNow(
  context: Pick<Context, 'dependencies' | 'guardedVolumes'>,
  isStart: boolean,
): Promise<void> {
  const { clock, signal, log } = context.dependencies
  const guard = await context.guardedVolumes.guard()
  if (guard.volumes.length === 0) return
  const fence = async () => {
    // A container that was starting while others were paused is found by another scan.
    while ((await pauseOnce(context, guard)) > 0) signal.throwIfAborted()
  }
  if (!isStart) return await fence()
  const fencing = fence().catch((error: unknown) => log.warn({ err: error }, 'not all containers could be paused'))
  await nullOnAbort(fencing, AbortSignal.any([signal, clock.deadline(START_FENCE_MS)]))
}

/**
 * Returns how many were paused by this.
 * A container that cannot be paused because it has no process now cannot write either.
 */
async function pauseOnce(context: Pick<Context, 'dependencies'>, guard: Guard): Promise<number> {
  try {
    return (await pauseGuarded(context.dependencies, guard)).length
  } catch (error) {
    const names = new Set(guard.volumes.map(({ name }) => name))
    const users = await context.dependencies.engine.users()
    if (users.some(({ state, volumes }) => state === 'running' && volumes.some((name) => names.has(name)))) throw error
    return 0
  }
}

/**
 * Resumes fenced containers once the lease runs and a write has confirmed all their holds.
 * The holds must be at the same epoch. Containers whose volume was taken over are killed. The reconcile loop calls
 * it; it does nothing while the lease is expired.
 */
export async function resumeFenced(
  context: Pick<
    Context,
    | 'dependencies'
    | 'hosts'
    | 'locks'
    | 'lease'
    | 'guardedVolumes'
    | 'checkpointScheduler'
    | 'containerUses'
    | 'confirmed'
    | 'surrendered'
    | 'endedUses'
  >,
): Promise<void> {
  const { pauses } = context.dependencies
  if (!context.lease.runs) {
    // These holds were confirmed under an expired lease: they count again only after the next write.
    context.confirmed.clear()
    return
  }
  const fenced = await pauses.all()
  if (fenced.length === 0) return
  const volumes = new Set(fenced.flatMap((pause) => pause.volumes))
  const ours = new Set<string>()
  let failure: unknown = null
  const check = async (id: string) => void ((await isStillOurs(context, id)) && ours.add(id))
  await forEachVolume([...volumes], check, null).catch((error: unknown) => {
    failure = error
  })
  const mayRun = (pause: Pause) => pause.volumes.every((id) => ours.has(id))
  // The watchdog has to know this lease before anything runs again.
  await context.guardedVolumes.tell()
  if (context.lease.runs) await pauses.resume(mayRun)
  const containers = fenced.filter(mayRun).map((pause) => pause.container)
  if (containers.length > 0)
    context.dependencies.log.info({ containers }, 'lease runs again: fenced containers resumed')
  if (failure !== null) throw failure
}

async function isStillOurs(
  context: Pick<
    Context,
    | 'dependencies'
    | 'hosts'
    | 'locks'
    | 'guardedVolumes'
    | 'checkpointScheduler'
    | 'containerUses'
    | 'confirmed'
    | 'surrendered'
    | 'endedUses'
  >,
  id: string,
): Promise<boolean> {
  return await context.locks.run(id, async () => {
    const local = await context.dependencies.store.copy(id)
    // A missing copy cannot be held: the volume was removed, or its copy dropped, and a note of the fence stayed.
    if (local === null || local.held === null) {
      await context.dependencies.pauses.kill((pause) => pause.volumes.includes(id))
      return false
    }
    const state = await confirmHold(context, local)
    if (state === 'lost') await giveUpHold(context, local)
    if (state === 'unborn') await retractHold(context, local)
    return state === 'held'
  })
}
