import type { Pause } from '../fence/contract.ts'
import { confirmHold } from './confirmation.ts'
import type { Core } from './core.ts'
import { forEach } from './for-each.ts'
import { giveUpHold } from './returning.ts'

/**
 * Lets containers that were paused for a fence go on, when the lease runs again and a write has confirmed each of their volumes' holds at the same epoch
 * since; ends those whose volume has gone on elsewhere. Called by housekeeping; does nothing while the lease is over.
 */
export async function settleFences(core: Core): Promise<void> {
  const { pauses } = core.parts
  if (!core.lease.runs) {
    // What is confirmed was so under a lease that is over: it counts again after the next write only.
    core.confirmed.clear()
    return
  }
  const fenced = (await pauses.all()).filter((pause) => pause.reason === 'fence')
  if (fenced.length === 0) return
  const volumes = new Set(fenced.flatMap((pause) => pause.volumes))
  const ours = new Set<string>()
  let failure: unknown = null
  const look = async (id: string) => void ((await isStillOurs(core, id)) && ours.add(id))
  await forEach([...volumes], look).catch((error: unknown) => {
    failure = error
  })
  const mayRun = (pause: Pause) => pause.reason === 'fence' && pause.volumes.every((id) => ours.has(id))
  // The word that the watchdog acts on has to be of this lease before anything runs again.
  await core.guarding.tell()
  if (core.lease.runs) await pauses.resume(mayRun)
  const containers = fenced.filter(mayRun).map((pause) => pause.container)
  if (containers.length > 0) core.parts.log.warn({ containers }, 'the lease runs again: fenced containers go on')
  if (failure !== null) throw failure
}

async function isStillOurs(core: Core, id: string): Promise<boolean> {
  return await core.locks.run(id, async () => {
    const local = await core.parts.store.copy(id)
    // A copy that is gone from here cannot be held: the volume was removed, or its copy has left, while a note of the fence stayed.
    if (local === null || local.held === null) {
      await core.parts.pauses.kill((pause) => pause.volumes.includes(id))
      return false
    }
    const answer = await confirmHold(core, local)
    if (answer === 'lost') await giveUpHold(core, local)
    return answer === 'held'
  })
}
