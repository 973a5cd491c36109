import type { VolumeRecord } from '../../model/model.ts'
import type { Dependencies } from '../dependencies.ts'
import { notFound } from '../errors.ts'
import { copyFields, isSameTree } from './checkpoint-order.ts'
import { hasCheckpoint, isKnownCopy, NO_CHECKPOINT, withCopy, withoutCopy } from './copies.ts'
import { changeVolume, STALE_READ } from './update-record.ts'

/** Bound of one registry write that only informs. */
const INFORM_MS = 5_000

type Informing = Pick<Dependencies, 'registry' | 'clock' | 'self' | 'signal'>

/**
 * Tells the registry that this host is getting a copy, so that a removal asks this host.
 * Rejects VOLUME_NOT_FOUND when the volume is removed or being removed: nobody would ask for the copy to be dropped.
 */
export async function announceCopy(dependencies: Informing, volume: Pick<VolumeRecord, 'id' | 'name'>): Promise<void> {
  const { clock, self } = dependencies
  await inform(dependencies, volume.name, (record) => {
    if (record === null || record.id !== volume.id || record.removedAt !== null) throw notFound(volume.name)
    if (record.copies[self.id] !== undefined) return record
    return withCopy(record, self.id, { ...NO_CHECKPOINT, state: 'filling', at: clock.now().toISOString(), kept: false })
  })
}

/**
 * Tells the registry that this host's copy is at the newest checkpoint of `seen`.
 * It does nothing when there is a newer one. A copy that the holder does not know stays unknown until the volume is
 * idle: learnt late, it would run unfenced.
 */
export async function reportCurrent(dependencies: Informing, seen: VolumeRecord): Promise<void> {
  const { clock, self } = dependencies
  await inform(dependencies, seen.name, (record) => {
    if (record === null || record.id !== seen.id || record.last === null || seen.last === null) return record
    if (!isSameTree(record.last, seen.last)) return record.epoch < seen.epoch ? STALE_READ : record
    const mine = record.copies[self.id]
    if (hasCheckpoint(mine, record.last) || (record.holder !== null && !isKnownCopy(mine))) return record
    return withCopy(record, self.id, {
      ...copyFields(record.last, mine),
      state: 'current',
      at: clock.now().toISOString(),
      kept: mine?.kept ?? false,
    })
  })
}

/** Tells the registry that this host's copy cannot be used as it is. */
export async function reportDamaged(dependencies: Informing, volume: Pick<VolumeRecord, 'id' | 'name'>): Promise<void> {
  const { self } = dependencies
  await inform(dependencies, volume.name, (record) => {
    const mine = record?.id === volume.id ? record.copies[self.id] : undefined
    if (record === null || mine === undefined || mine.state !== 'current') return record
    return withCopy(record, self.id, { ...mine, state: 'behind' })
  })
}

/**
 * Takes this host's unfinished copy off the record.
 * False: the record has it as complete, or as one to keep.
 */
export async function withdrawCopy(
  dependencies: Informing,
  volume: Pick<VolumeRecord, 'id' | 'name'>,
): Promise<boolean> {
  const { self } = dependencies
  let unborn = true
  await inform(dependencies, volume.name, (record) => {
    const mine = record?.id === volume.id ? record.copies[self.id] : undefined
    unborn = mine === undefined || (mine.state === 'filling' && !mine.kept)
    return record === null || mine === undefined || !unborn ? record : withoutCopy(record, self.id)
  })
  return unborn
}

async function inform(
  dependencies: Informing,
  name: string,
  change: Parameters<typeof changeVolume>[2],
): Promise<void> {
  await changeVolume(
    dependencies,
    name,
    change,
    AbortSignal.any([dependencies.signal, dependencies.clock.deadline(INFORM_MS)]),
  )
}
