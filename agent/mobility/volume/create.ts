import type { VolumeOptions, VolumeRecord } from '../../model/model.ts'
import { describeOptions } from '../../model/volume-options.ts'
import type { Context } from '../context.ts'
import type { Dependencies } from '../dependencies.ts'
import { RETRY_MS, readVolume } from '../record/update-record.ts'
import { allInventories, findForgotten } from '../recovery/forgotten-data.ts'
import { findPredecessor } from '../recovery/predecessor.ts'
import { creationUnconfirmed, otherOptions } from './errors.ts'
import { finishRemoval } from './finish-removal.ts'

/** Docker's client gives up on most calls after 30 s. */
const CREATE_MS = 20_000
/** Servers of the registry are not longer behind each other while they have a leader. */
const STALE_MS = 3_000

/**
 * Adds the record; the data appears with the first Mount, on the host that mounts.
 * Returns an existing volume with the same options as it is. May be repeated; durable on return.
 * VOLUME_EXISTS: with other options, or as data that the registry has lost.
 */
export async function createVolume(
  context: Pick<Context, 'dependencies' | 'hosts' | 'lease' | 'guardedVolumes' | 'confirmed'>,
  name: string,
  options: VolumeOptions,
): Promise<VolumeRecord> {
  const { dependencies } = context
  const signal = AbortSignal.any([dependencies.signal, dependencies.clock.deadline(CREATE_MS)])
  const settled = dependencies.clock.deadline(STALE_MS)
  for (;;) {
    // Each try uses another id: what an earlier try may have created can be removed by now, and a removed id never
    // comes back.
    const record = newRecord(dependencies, name, options)
    const existing = (await readVolume(dependencies, name, signal))?.value
    if (existing !== undefined && existing.removedAt === null) return sameVolume(existing, options)
    if (existing !== undefined) await finishRemoval(context, existing, signal)
    const inventories = await allInventories(context, signal)
    const forgotten = await findForgotten(context, record, inventories)
    if (forgotten !== null && settled.aborted) throw forgotten
    const predecessor = await findPredecessor(context, name, inventories)
    // After the deadline no host replies: then it is not known what the others have.
    const write =
      forgotten === null && !signal.aborted ? await dependencies.registry.addVolume({ ...record, predecessor }) : null
    if (write?.outcome === 'done') {
      if (predecessor !== undefined) warnOfPredecessor(context, write.entry.value)
      return write.entry.value
    }
    if (signal.aborted) {
      throw creationUnconfirmed(name)
    }
    await dependencies.clock.sleep(RETRY_MS, signal)
  }
}

function warnOfPredecessor(
  { dependencies, hosts }: Pick<Context, 'dependencies' | 'hosts'>,
  { name, id, predecessor }: VolumeRecord,
): void {
  const where = predecessor?.hosts.map((host) => hosts.label(host))
  const about = { volume: name, id, earlier: predecessor?.id, hosts: where, until: predecessor?.until }
  dependencies.log.warn(about, 'new, empty volume has the name of a removed one whose data is still on hosts')
}

function newRecord(
  dependencies: Pick<Dependencies, 'newId' | 'clock'>,
  name: string,
  options: VolumeOptions,
): VolumeRecord {
  return {
    id: dependencies.newId(),
    name,
    options,
    createdAt: dependencies.clock.now().toISOString(),
    epoch: 0,
    holder: null,
    last: null,
    seizures: [],
    copies: {},
    removedAt: null,
  }
}

/** Compares the options that this version knows: a newer one may have written more. */
function sameVolume(existing: VolumeRecord, options: VolumeOptions): VolumeRecord {
  if (describeOptions(existing.options) === describeOptions(options)) return existing
  throw otherOptions(existing)
}
