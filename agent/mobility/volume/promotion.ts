import type { Checkpoint, VolumeRecord } from '../../model/model.ts'
import type { Context } from '../context.ts'
import type { Takeover } from '../failover/takeover.ts'
import { isKnownCopy } from '../record/copies.ts'
import { sentenceOf } from '../trouble.ts'

/** The result of a promotion. */
export interface Promotion {
  readonly record: VolumeRecord
  /** False: the record is as it was. */
  readonly changed: boolean
  /** For the operator: where the volume stands now. */
  readonly summary: string
}

/** Whether the volume has no data that could be lost. */
export function isNeverUsed({ holder, last, copies }: VolumeRecord): boolean {
  return holder === null && last === null && !Object.values(copies).some(isKnownCopy)
}

export function unusedPromotion(record: VolumeRecord): Promotion {
  const summary = `Volume "${record.name}" was never used and can be mounted on any host; nothing was changed.`
  return { record, changed: false, summary }
}

/** The result when no host holds the volume and a copy that can be reached is at its newest checkpoint. */
export function unchangedPromotion(
  context: Pick<Context, 'hosts'>,
  { record, best, hosts, described }: Takeover & { described: string },
): Promotion {
  const where = hosts.map((host) => context.hosts.label(host)).join(', ')
  const state = `is not held by any host and is at its newest checkpoint ${describeCheckpoint(best)}`
  const summary = `Volume "${record.name}" ${state}; nothing was changed. It can be mounted, with the data of ${where}.`
  return { record, changed: false, summary: `${summary} ${sentenceOf(described)}` }
}

/** The result when the volume was taken over, and no host holds it now. */
export function takeoverPromotion(context: Pick<Context, 'hosts'>, record: VolumeRecord): Promotion {
  const { name, last, seizures } = record
  const { from = '', ageSeconds = 0 } = seizures.at(-1) ?? {}
  const without = from === '' ? '' : ` without host ${context.hosts.label(from)}`
  const mostly = `What was written in at most the last ${ageSeconds} s before is missing`
  const lost = ageSeconds === 0 ? 'Nothing is missing' : from === '' ? 'What was written after it is missing' : mostly
  const at = last === null ? '' : ` from checkpoint ${describeCheckpoint(last)}`
  const next = 'No host holds it; the next Mount gets it, on any host.'
  return { record, changed: true, summary: `Volume "${name}" goes on${without}${at}. ${lost}. ${next}` }
}

function describeCheckpoint({ epoch, seq, at }: Checkpoint): string {
  return `${epoch}.${seq}, taken ${at}`
}
