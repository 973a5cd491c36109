import { WherryError } from '../model/errors.ts'
import type { Trouble, VolumeRecord } from '../model/model.ts'
import type { HostDirectory } from './host-contract.ts'
import { sentenceOf } from './trouble.ts'

/** This host, for messages about what it cannot do. */
export interface OwnHost {
  /** Its label: "h2 (10.88.0.2)". */
  readonly label: string
  readonly leaseMs: number
  /** Why its state directory cannot be written; null: it can. */
  readonly trouble: Trouble | null
}

/** VOLUME_NOT_FOUND. Only for when the registry itself said so. */
export function notFound(name: string): WherryError {
  return new WherryError('VOLUME_NOT_FOUND', `There is no volume "${name}".`, {
    hint: `List volumes with "wherry ls", or create it: docker volume create --driver wherry ${name}`,
  })
}

/** Another host was faster. */
export function changedHands(name: string): WherryError {
  return new WherryError('VOLUME_HELD_ELSEWHERE', `Volume "${name}" changed hands just now.`, { hint: 'Try again.' })
}

/** Another host holds the volume. `self`: this host's id. */
export function heldElsewhere(record: VolumeRecord, hosts: HostDirectory, self: string): WherryError {
  const { holder } = record
  if (holder === null) return changedHands(record.name)
  const containers = hosts.containers(holder.host, record.id)
  const users = containers.length === 0 ? 'no container that is known' : `container ${containers.join(', ')}`
  const where = hosts.labelWithAge(holder.host)
  const away = !hosts.alive(holder.host) && holder.host !== self
  return new WherryError(
    'VOLUME_HELD_ELSEWHERE',
    [
      `Volume "${record.name}" is in use on host ${where} by ${users} (epoch ${record.epoch}, since ${holder.since}).`,
      ...describeOtherCopies(record, holder.host, hosts, self),
    ].join(' '),
    {
      hint: away
        ? `Bring host ${hosts.label(holder.host)} back, or reconnect it; nothing else has its newest data.`
        : [
            `Stop ${containers.length === 0 ? 'what uses it' : containers.join(', ')} there first;`,
            'the volume then follows to this host by itself.',
          ].join(' '),
    },
  )
}

/** A sentence when no copy beside the holder's can be reached. */
function describeOtherCopies({ copies }: VolumeRecord, holder: string, hosts: HostDirectory, self: string): string[] {
  const others = Object.keys(copies).filter((id) => id !== holder && copies[id]?.state !== 'filling')
  if (others.length === 0) return ['Its data is on that host alone.']
  if (others.some((id) => id === self || hosts.alive(id))) return []
  return [`Its other copies are out of reach: ${others.map((id) => hosts.labelWithAge(id)).join('; ')}.`]
}

/** The registry has lost changes. `where`: whose disk has seen the later epoch. */
export function registryBehind({ name, epoch }: VolumeRecord, where: string, epochSeen: number): WherryError {
  return new WherryError(
    'COPY_DAMAGED',
    [
      `The registry says epoch ${epoch} for volume "${name}", but ${where} has seen epoch ${epochSeen}:`,
      'the registry has lost changes.',
    ].join(' '),
    { hint: 'Run "wherry recover" on a host that reaches all others; it rebuilds the records from the disks.' },
  )
}

/** STATE_UNWRITABLE: this host cannot keep what it would promise. */
export function stateUnwritable(name: string, host: string, { code, text, since }: Trouble): WherryError {
  return new WherryError(
    'STATE_UNWRITABLE',
    [
      `Host ${host} cannot write its state directory (${code}, since ${since}),`,
      `so nothing can be done with volume "${name}" here: ${sentenceOf(text)}`,
    ].join(' '),
    { hint: "Read the kernel's log, repair the disk, or use another host." },
  )
}

/** This host may neither hold nor mount, because others may take over what it has. */
export function leaseLost(name: string, { label, leaseMs, trouble }: OwnHost): WherryError {
  if (trouble !== null) return stateUnwritable(name, label, trouble)
  return new WherryError(
    'LEASE_LOST',
    [
      `Host ${label} has lost its lease: the registry has not acknowledged a renewal for`,
      `${Math.round(leaseMs / 1000)} s, so volume "${name}" cannot be mounted here now.`,
    ].join(' '),
    {
      hint: [
        'It recovers when the registry replies again.',
        'Check that more than half of the nats-servers run, and that this host reaches them.',
      ].join(' '),
    },
  )
}

/** The registry did not reply while somebody waited for `name`. */
export function registrySilent(name: string): WherryError {
  return new WherryError('REGISTRY_UNAVAILABLE', `The registry did not answer about volume "${name}" in time.`)
}

/** What is left to an operator who cannot have the newest checkpoint. */
export function orPromote(when: string, name: string): string {
  return `If ${when}, "wherry promote ${name}" says what an older checkpoint costs.`
}
