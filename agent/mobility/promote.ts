import { WherryError } from '../errors.ts'
import type { VolumeRecord } from '../model.ts'
import { readVolume } from './commit.ts'
import type { Core } from './core.ts'
import { notFound } from './refusals.ts'
import { announceSeizure, recordAfterTakeOver, weighTakeOver, writeTakeOver } from './seize.ts'

/** Long enough for a lease that has just begun to be silent to be over. */
const PROMOTE_MS = 30_000
const LOOK_MS = 500

/**
 * A person's word that a volume may go on without its holder, or without a checkpoint that cannot be reached: the volume is idle then, at the newest checkpoint
 * that was found, and follows the next Mount. FAILOVER_REFUSED while the holder lives, and when data would be lost that `acceptLoss` does not accept. May be repeated; durable on return.
 */
export async function promoteVolume(
  core: Core,
  name: string,
  acceptLoss: boolean,
  caller: AbortSignal,
): Promise<VolumeRecord> {
  const { parts } = core
  const signal = AbortSignal.any([caller, parts.signal, parts.clock.deadline(PROMOTE_MS)])
  let refusal: WherryError | null = null
  while (!signal.aborted) {
    const entry = await readVolume(parts, name, signal)
    if (entry === null || entry.value.removedAt !== null) throw notFound(name)
    const record = entry.value
    const found = await weighTakeOver(core, record, { person: true, loss: acceptLoss }, signal)
    if (found instanceof WherryError) {
      refusal = found
      // Only a lease may still run out while we wait.
      if (found.code !== 'VOLUME_HELD_ELSEWHERE') throw found
    } else {
      if (record.holder === null && record.last?.hash === found.best.hash) return record
      const next = (now: VolumeRecord) => recordAfterTakeOver(core, now, found.best, found.hosts, null)
      const mine = (now: VolumeRecord) => now.seizures.at(-1)?.by === parts.self.id && now.epoch === record.epoch + 1
      const written = await writeTakeOver(core, entry, next, mine, signal)
      if (!(written instanceof WherryError)) {
        announceSeizure(core, written)
        core.wakes.wake(name)
        return written
      }
      refusal = written
    }
    await core.wakes.wait(name, (until) => parts.clock.sleep(LOOK_MS, until), signal)
  }
  throw (
    refusal ?? new WherryError('REGISTRY_UNAVAILABLE', `The registry did not answer about volume "${name}" in time.`)
  )
}
