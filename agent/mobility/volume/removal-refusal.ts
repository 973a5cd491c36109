import { WherryError } from '../../model/errors.ts'
import type { VolumeRecord } from '../../model/model.ts'
import type { Context } from '../context.ts'
import type { RemovalConsent } from '../contract.ts'
import { changedHands, leaseRunning } from '../errors.ts'
import { sentenceOf, stuckAt } from '../trouble.ts'
import { isAway, type References } from './references.ts'

/** Docker's word: nothing is accepted. */
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

/** What of the references the operator did not accept; null: nothing is in the way. */
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

/** VOLUME_IN_USE with everything that is in the way, and the commands that help. */
export function inUse(context: Context, record: VolumeRecord, objection: Objection): WherryError {
  const { references, away, isHolderAway } = objection
  const clauses = [...describeContainers(context, references), ...away.map((host) => describeAway(context, host))]
  const { services, unknown } = references
  if (services.length > 0) clauses.push(`by ${services.length === 1 ? 'service' : 'services'} ${services.join(', ')}`)
  const use =
    clauses.length > 0
      ? `Volume "${record.name}" is in use ${clauses.join('; ')}.`
      : `It is not known whether volume "${record.name}" is in use.`
  const gaps = unknown.length === 0 ? '' : ` Not known: ${unknown.join('; ')}.`
  return new WherryError('VOLUME_IN_USE', `${use}${gaps} It was not removed.`, {
    hint: whatToDo(context, record, objection, isHolderAway),
  })
}

/** Nothing refers to the volume any more, and its holder does not let go in time, or may not be given up yet. */
export function stillHeld(context: Context, record: VolumeRecord): WherryError {
  const { name, holder, epoch } = record
  if (holder === null) return changedHands(name)
  if (isAway(context, holder.host)) return leaseRunning(context, record, context.expiry.inMs(holder.host))
  const trouble = stuckAt(context, holder.host, record)
  if (trouble !== null) {
    const { code, text, since } = trouble
    const where = `host ${context.hosts.label(holder.host)}, where no container has it any more`
    const why = `(${code}, since ${since}): ${sentenceOf(text)}`
    return new WherryError(
      'VOLUME_IN_USE',
      `Volume "${name}" is held by ${where}, but which cannot let it go ${why} It was not removed.`,
      { hint: `Mend that there, or remove the volume at once: wherry rm ${name} --force` },
    )
  }
  return new WherryError(
    'VOLUME_IN_USE',
    `Volume "${name}" is still held by host ${context.hosts.label(holder.host)} (epoch ${epoch}), although no container has it any more. It was not removed.`,
    { hint: `It is being released there: try again in a moment, or remove it at once: wherry rm ${name} --force` },
  )
}

/** One line for each thing that refers to a volume, for whoever removes it all the same. */
export function describeReferences(context: Context, { services, containers, away, unknown }: References): string[] {
  return [
    ...services.map((name) => `service ${name}`),
    ...containers.map(({ host, name, state }) => `container ${name} (${state}) on host ${context.hosts.label(host)}`),
    ...away.map(({ host, containers: names }) => {
      const what = names === null ? 'containers that are not known' : `container ${names.join(', ') || 'not known'}`
      return `${what} on host ${context.hosts.labelWithAge(host)}`
    }),
    ...unknown.map((what) => `not known: ${what}`),
  ]
}

function describeContainers(context: Context, { containers }: Pick<References, 'containers'>): string[] {
  const byHost = Map.groupBy(containers, ({ host }) => host)
  return Array.from(byHost, ([host, found]) => {
    const names = found.map(({ name, state }) => `${name} (${state})`)
    return `on host ${context.hosts.label(host)} by container ${names.join(', ')}`
  })
}

function describeAway(context: Context, { host, containers }: References['away'][number]): string {
  const who =
    containers === null || containers.length === 0 ? 'no container that is known' : `container ${containers.join(', ')}`
  return `on host ${context.hosts.labelWithAge(host)} by ${who}`
}

function whatToDo(
  context: Context,
  { name, holder }: VolumeRecord,
  objection: Objection,
  isHolderAway: boolean,
): string {
  const { references, away } = objection
  const { services, containers, unknown } = references
  const steps: string[] = []
  if (services.length > 0 || containers.length > 0) steps.push('Remove what uses it first.')
  if (unknown.length > 0) steps.push('Make the hosts that did not answer reachable.')
  if (away.length > 0)
    steps.push(`Bring ${away.map(({ host }) => `host ${context.hosts.label(host)}`).join(', ')} back.`)
  const others = away.some(({ host }) => host !== holder?.host)
  const needsForce = services.length > 0 || containers.length > 0 || unknown.length > 0 || others
  const flags = [...(needsForce ? ['--force'] : []), ...(isHolderAway ? ['--accept-loss'] : [])]
  const lost = isHolderAway
    ? `If host ${context.hosts.label(holder?.host ?? '')} is lost for good`
    : 'To remove it all the same'
  return `${steps.join(' ')} ${lost}: wherry rm ${name} ${flags.join(' ')}`
}
