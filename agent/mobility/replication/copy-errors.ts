import { codeOf, WherryError } from '../../model/errors.ts'
import type { Checkpoint, VolumeRecord } from '../../model/model.ts'
import type { HostDirectory } from '../dependencies.ts'

const HOPELESS: ReadonlySet<string | undefined> = new Set(['DISK_FULL', 'TREE_UNSUPPORTED', 'VOLUME_NOT_FOUND'])

/** Trying again changes nothing until a person does something about it. */
export function isHopeless(error: unknown): boolean {
  return HOPELESS.has(codeOf(error))
}

/** The holder writes on while a copy that is far behind reads its tree: no damage, and the next checkpoint brings what is missing. */
export function changedMeanwhile(record: VolumeRecord, { epoch, seq }: Checkpoint, from: string): WherryError {
  return new WherryError(
    'COPY_RUNNING',
    `Checkpoint ${epoch}.${seq} of volume "${record.name}" did not come whole from ${from}: some of its data had changed there before it was read.`,
    { hint: 'The next checkpoint brings what is missing.' },
  )
}

/** The tree of a copy that nobody uses is another one than its checkpoint. `paths`: where, as far as that is known. */
export function changedAtRest(record: VolumeRecord, host: string, paths: readonly string[]): WherryError {
  const { name, id, last } = record
  const where = paths.length === 0 ? '' : ` (${paths.join(', ')})`
  return new WherryError(
    'COPY_DAMAGED',
    `The copy of volume "${name}" on ${host} is not what checkpoint ${last?.epoch}.${last?.seq} says${where}: somebody changed files under volumes/${id}/data while no container used it, or the disk is damaged.`,
    {
      hint: `If no other host has a current copy: undo that change, then run there: wherry verify ${name}. ${orPromote('that cannot be done', name)}`,
    },
  )
}

/** Housekeeping does that within seconds (promise 7). */
export function putAsideFirst(record: VolumeRecord): WherryError {
  return new WherryError(
    'COPY_RUNNING',
    `The copy of volume "${record.name}" here has writes that the cluster did not go on from; it is put aside before another takes its place.`,
    { hint: 'That happens by itself; start the container again in a moment.' },
  )
}

/** The copy came too late: its volume has a hold here by now. */
export function heldHere(record: VolumeRecord): WherryError {
  return new WherryError('VOLUME_IN_USE', `Volume "${record.name}" is held on this host.`)
}

/** Why one source did not deliver. */
export function unreachable(record: VolumeRecord, source: string, error: unknown): WherryError {
  const why = error instanceof WherryError ? error.toLine() : String(error)
  return new WherryError(
    'DATA_UNREACHABLE',
    `The newest data of volume "${record.name}" is on ${source}, which did not deliver it: ${why}`,
    {
      hint: `It is tried again as long as someone asks for the volume. ${orPromote('it never comes', record.name)}`,
      cause: error,
    },
  )
}

/** What is left to an operator who cannot have the newest checkpoint. */
export function orPromote(when: string, name: string): string {
  return `If ${when}, "wherry promote ${name}" says what an older checkpoint costs.`
}

/** Names every host that has the newest data, when none of them can be asked. */
export function dataUnreachable(record: VolumeRecord, hosts: HostDirectory): WherryError {
  const holders = Object.entries(record.copies)
    .filter(([, copy]) => copy.state === 'current')
    .map(([host]) => hosts.labelWithAge(host))
  const changed = hosts.all().filter(({ damaged }) => damaged?.[record.id] !== undefined)
  const named = changed.map((host) =>
    changedAtRest(record, hosts.labelWithAge(host.id), [host.damaged?.[record.id] ?? '']),
  )
  const why = named.map(({ message }) => ` ${message}`).join('')
  return new WherryError(
    'DATA_UNREACHABLE',
    `No host that can be reached has the newest data of volume "${record.name}" (checkpoint ${record.last?.epoch}.${record.last?.seq}); it is on: ${holders.join(', ') || 'no known host'}.${why}`,
    {
      hint:
        named[0]?.hint ??
        `Bring that host back, then start the container again. ${orPromote('it is lost for good', record.name)}`,
    },
  )
}

/** What is known here is newer than what the copy was asked for with (promise 8). */
export function epochPassed(record: VolumeRecord, epochSeen: number): WherryError {
  return new WherryError(
    'STALE_EPOCH',
    `Epoch ${epochSeen} of volume "${record.name}" has been seen on this host, a copy of epoch ${record.epoch} is not put in its place.`,
  )
}

/** Nobody has said yet where that host is. */
export function unknownHost(host: string): WherryError {
  return new WherryError('DATA_UNREACHABLE', `Host ${host} has never been heard of.`, {
    hint: 'Wait until its agent has started once, or check WHERRY_PEERS.',
  })
}
