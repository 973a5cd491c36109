import { WherryError } from '../../model/errors.ts'
import type { Trouble, VolumeRecord } from '../../model/model.ts'
import { describeOptions } from '../../model/volume-options.ts'
import { changedHands } from '../errors.ts'
import { leaseRunning } from '../failover/errors.ts'
import type { HostDirectory } from '../host-contract.ts'
import { sentenceOf } from '../trouble.ts'
import type { References } from './references.ts'
import type { Objection } from './removal-consent.ts'

/** VOLUME_EXISTS: the name is taken by a volume with other options. */
export function otherOptions({ name, options }: VolumeRecord): WherryError {
  return new WherryError('VOLUME_EXISTS', `Volume "${name}" exists with other options (${describeOptions(options)}).`, {
    hint: 'Use those, another name, or remove the volume first.',
  })
}

/** Whether the volume was created is not known. */
export function creationUnconfirmed(name: string): WherryError {
  return new WherryError('REGISTRY_UNAVAILABLE', `The registry did not confirm that volume "${name}" was created.`, {
    hint: 'Create it again; that is safe.',
  })
}

/** The removal is certain, and its name is still taken. */
export function nameNotFreed(name: string): WherryError {
  return new WherryError(
    'REGISTRY_UNAVAILABLE',
    `Volume "${name}" is marked as removed, but the registry did not free its name in time.`,
    { hint: 'It is finished in the background as soon as the registry replies.' },
  )
}

/** VOLUME_IN_USE with everything that is in the way, and the commands that help. */
export function stillReferred(record: VolumeRecord, hosts: HostDirectory, objection: Objection): WherryError {
  const { references, away, isHolderAway } = objection
  const clauses = [...describeContainers(hosts, references), ...away.map((host) => describeAway(hosts, host))]
  const { services, unknown } = references
  if (services.length > 0) clauses.push(`by ${services.length === 1 ? 'service' : 'services'} ${services.join(', ')}`)
  const use =
    clauses.length > 0
      ? `Volume "${record.name}" is in use ${clauses.join('; ')}.`
      : `It is not known whether volume "${record.name}" is in use.`
  const gaps = unknown.length === 0 ? '' : ` Not known: ${unknown.join('; ')}.`
  return new WherryError('VOLUME_IN_USE', `${use}${gaps} It was not removed.`, {
    hint: whatToDo(hosts, record, objection, isHolderAway),
  })
}

/** Why a holder that no container needs has not released the volume yet. */
export interface HolderState {
  /** It has not been heard of for longer than a lease. */
  readonly isAway: boolean
  /** Time until its lease may be ended. */
  readonly waitMs: number
  /** Why it cannot release the volume; null: nothing is known. */
  readonly trouble: Trouble | null
}

/**
 * Nothing refers to the volume, and its holder does not release it in time.
 * Or its lease cannot be ended yet.
 */
export function stillHeld(record: VolumeRecord, hosts: HostDirectory, self: string, state: HolderState): WherryError {
  const { name, holder, epoch } = record
  if (holder === null) return changedHands(name)
  if (state.isAway) return leaseRunning(record, hosts, self, state.waitMs)
  const host = hosts.label(holder.host)
  if (state.trouble !== null) {
    const { code, text, since } = state.trouble
    return new WherryError(
      'VOLUME_IN_USE',
      [
        `Volume "${name}" is held by host ${host}, where no container has it any more, but which cannot release it`,
        `(${code}, since ${since}): ${sentenceOf(text)} It was not removed.`,
      ].join(' '),
      { hint: `Repair that there, or remove the volume at once: wherry rm ${name} --force` },
    )
  }
  return new WherryError(
    'VOLUME_IN_USE',
    [
      `Volume "${name}" is still held by host ${host} (epoch ${epoch}), although no container has it any more.`,
      'It was not removed.',
    ].join(' '),
    { hint: `It is being released there: try again in a moment, or remove it at once: wherry rm ${name} --force` },
  )
}

/** Returns a line for each thing that refers to a volume. */
export function describeReferences(
  hosts: HostDirectory,
  { services, containers, away, unknown }: References,
): string[] {
  return [
    ...services.map((name) => `service ${name}`),
    ...containers.map(({ host, name, state }) => `container ${name} (${state}) on host ${hosts.label(host)}`),
    ...away.map(({ host, containers: names }) => {
      const what = names === null ? 'containers that are not known' : `container ${names.join(', ') || 'not known'}`
      return `${what} on host ${hosts.labelWithAge(host)}`
    }),
    ...unknown.map((what) => `not known: ${what}`),
  ]
}

function describeContainers(hosts: HostDirectory, { containers }: Pick<References, 'containers'>): string[] {
  const byHost = Map.groupBy(containers, ({ host }) => host)
  return Array.from(byHost, ([host, found]) => {
    const names = found.map(({ name, state }) => `${name} (${state})`)
    return `on host ${hosts.label(host)} by container ${names.join(', ')}`
  })
}

function describeAway(hosts: HostDirectory, { host, containers }: References['away'][number]): string {
  const who =
    containers === null || containers.length === 0 ? 'no container that is known' : `container ${containers.join(', ')}`
  return `on host ${hosts.labelWithAge(host)} by ${who}`
}

function whatToDo(
  hosts: HostDirectory,
  { name, holder }: VolumeRecord,
  objection: Objection,
  isHolderAway: boolean,
): string {
  const { references, away } = objection
  const { services, containers, unknown } = references
  const steps: string[] = []
  if (services.length > 0 || containers.length > 0) steps.push('Remove what uses it first.')
  if (unknown.length > 0) steps.push('Make the hosts that did not answer reachable.')
  if (away.length > 0) steps.push(`Bring ${away.map(({ host }) => `host ${hosts.label(host)}`).join(', ')} back.`)
  const others = away.some(({ host }) => host !== holder?.host)
  const needsForce = services.length > 0 || containers.length > 0 || unknown.length > 0 || others
  const flags = [...(needsForce ? ['--force'] : []), ...(isHolderAway ? ['--accept-loss'] : [])]
  const lost = isHolderAway
    ? `If host ${hosts.label(holder?.host ?? '')} is lost for good`
    : 'To remove it all the same'
  return `${steps.join(' ')} ${lost}: wherry rm ${name} ${flags.join(' ')}`
}
