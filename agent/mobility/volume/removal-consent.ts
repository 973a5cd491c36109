import type { VolumeRecord } from '../../model/model.ts'
import type { RemovalConsent } from '../contract.ts'
import type { References } from './references.ts'

/** `docker volume rm` accepts nothing. */
export const NO_CONSENT: RemovalConsent = { force: false, acceptLoss: false }

/** Why a volume may not be removed, as far as it was not accepted. */
export interface Objection {
  /** What refers to it and can be reached, or is not known. `force` overrules it. */
  readonly references: Pick<References, 'services' | 'containers' | 'unknown'>
  /** Hosts that are away and may have containers with it. */
  readonly away: References['away']
  /** The volume's holder is one of them: only `acceptLoss` overrules that. */
  readonly isHolderAway: boolean
}

/** Returns which references the operator did not accept; null: none is in the way. */
export function objectionTo(
  record: VolumeRecord,
  { services, containers, unknown, away }: References,
  { force, acceptLoss }: RemovalConsent,
): Objection | null {
  const holder = record.holder?.host
  const isHolderAway = !acceptLoss && away.some(({ host }) => host === holder)
  const left = away.filter(({ host }) => (host === holder ? !acceptLoss : !force))
  const references = force ? { services: [], containers: [], unknown: [] } : { services, containers, unknown }
  const isClear = Object.values(references).every(({ length }) => length === 0) && left.length === 0
  return isClear ? null : { references, away: left, isHolderAway }
}
