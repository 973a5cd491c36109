import type { Seizure, VolumeRecord } from '../../model/model.ts'
import { type NamedCheckpoint, orderOf } from './checkpoint-order.ts'

/** Bounds the record's size. What is cut off is summed up in `seizuresCut`. */
const SEIZURES_KEPT = 32

type Line = Pick<VolumeRecord, 'seizures' | 'seizuresCut' | 'last'>

/**
 * Where a checkpoint stands in its volume's history.
 * `in line`: the cluster continued from it, or from a later one of the same line; nothing in it is lost.
 * `newer`: of the present line, and newer than `last`.
 * `repeated`: no checkpoint of the line, but its content is that of one; nothing in it is lost.
 * `left behind`: the cluster continued without it, or the record does not reach back far enough to tell.
 * `conflict`: it has the epoch and number of another checkpoint of the line; it never belonged to the volume.
 */
export type Standing = 'in line' | 'newer' | 'repeated' | 'left behind' | 'conflict'

/** Returns the record's takeovers with one more, without the oldest when they are too many. */
export function withSeizure(record: Pick<VolumeRecord, 'seizures'>, seizure: Seizure): readonly Seizure[] {
  return [...record.seizures, seizure].slice(-SEIZURES_KEPT)
}

/** Returns the fields of the record after one more takeover. */
export function seizureFields(
  record: Pick<VolumeRecord, 'seizures' | 'seizuresCut'>,
  seizure: Seizure,
): Pick<VolumeRecord, 'seizures' | 'seizuresCut'> {
  const seizures = withSeizure(record, seizure)
  const cut = record.seizures.filter((one) => !seizures.includes(one))
  if (cut.length === 0)
    return record.seizuresCut === undefined ? { seizures } : { seizures, seizuresCut: record.seizuresCut }
  const hosts = [...(record.seizuresCut?.hosts ?? []), ...cut.map(({ from }) => from)].filter((from) => from !== '')
  const epoch = Math.max(...cut.map((one) => one.epoch))
  return { seizures, seizuresCut: { ...record.seizuresCut, epoch, hosts: [...new Set(hosts)] } }
}

/** Returns the hosts that lost the volume to a takeover, as far back as the record knows. */
export function lostHolders({ seizures, seizuresCut }: Pick<VolumeRecord, 'seizures' | 'seizuresCut'>): string[] {
  const hosts = [...(seizuresCut?.hosts ?? []), ...seizures.map(({ from }) => from)]
  return [...new Set(hosts)].filter((host) => host !== '')
}

/** Returns where a checkpoint of some host stands, by the record. */
export function standingOf(record: Line, checkpoint: NamedCheckpoint): Standing {
  const { seizures, last } = record
  const bases = seizures.map(({ base }) => base)
  const known = last === null ? bases : [...bases, last]
  const orders = known.map((one) => orderOf(checkpoint, one))
  if (orders.includes('same')) return 'in line'
  if (orders.includes('conflict')) return 'conflict'
  const after = seizures.find((seizure) => seizure.epoch > checkpoint.epoch)
  const end = after?.base ?? last
  const isBeyond = end === null || orderOf(checkpoint, end) === 'newer'
  const isOld = checkpoint.epoch < cutEpoch(record)
  if (!isOld && !isBeyond) return 'in line'
  if (!isOld && after === undefined) return 'newer'
  const isKnown = checkpoint.hash !== undefined && known.some(({ hash }) => hash === checkpoint.hash)
  return isKnown ? 'repeated' : 'left behind'
}

/**
 * Whether nothing is lost when a tree at this checkpoint is replaced.
 * True when the cluster continued from it, from a later one, or from the same content.
 */
export function isInLine(record: Line, checkpoint: NamedCheckpoint): boolean {
  const standing = standingOf(record, checkpoint)
  return standing === 'in line' || standing === 'repeated'
}

/**
 * Returns the highest epoch that may have begun with a takeover that the list does not have any more.
 * Nobody knows whether the cluster continued from older checkpoints. Older releases cut the list without a note.
 */
function cutEpoch({ seizures, seizuresCut }: Line): number {
  const [oldest] = seizures
  const unnoted = oldest !== undefined && seizures.length >= SEIZURES_KEPT ? oldest.epoch - 1 : 0
  return Math.max(seizuresCut?.epoch ?? 0, unnoted)
}
