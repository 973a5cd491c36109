import { isDeepStrictEqual } from 'node:util'
import type { Checkpoint, VolumeRecord } from '../../model/model.ts'
import { nullOnAbort } from '../../runtime/abort.ts'
import type { Context } from '../context.ts'
import { areSound, othersWith } from '../failover/sound-candidates.ts'
import type { PlacementMemory } from './memory.ts'

/**
 * How long a comparison counts.
 * A copy may be changed afterwards, and placement runs every few seconds.
 */
const COUNTS_MS = 15_000

/** A tree that was read before is compared within this. */
const WAIT_MS = 1_000

/**
 * Whether the other hosts have just found their copies of an idle volume to be its newest checkpoint.
 * They are asked in the background, about one volume after another: they may have to read it all. False: call it
 * again.
 */
export async function wereOthersSound(
  context: Pick<Context, 'dependencies' | 'hosts' | 'locks' | 'copyManager' | 'treeChecks'>,
  record: VolumeRecord,
  last: Checkpoint,
  memory: PlacementMemory,
): Promise<boolean> {
  const { compared, comparing } = memory
  const { clock, signal, log } = context.dependencies
  const { id, name } = record
  const hosts = othersWith(context, record, last)
  const hasFound = () => {
    const found = compared.get(id)
    if (found == null) return false
    compared.delete(id)
    const isRecent = clock.elapsedMs() - found.atMs <= COUNTS_MS
    return isRecent && found.hash === last.hash && isDeepStrictEqual(found.hosts, hosts)
  }
  if (hasFound()) return true
  if (compared.get(id) === null) return false
  const isFree = ![...compared.values()].includes(null)
  compared.set(id, null)
  const ask = async () => {
    const isSound = !signal.aborted && (await areSound(context, id, hosts, last))
    compared.delete(id)
    if (isSound) compared.set(id, { hosts, hash: last.hash, atMs: clock.elapsedMs() })
  }
  const asked = comparing.run('', ask).catch((error: unknown) => {
    compared.delete(id)
    log.debug({ err: error, volume: name }, 'comparison of copies on other hosts failed')
  })
  // While they are asked about another volume, it is not known when it is this one's turn.
  if (isFree) await nullOnAbort(asked, AbortSignal.any([signal, clock.deadline(WAIT_MS)]))
  return hasFound()
}
