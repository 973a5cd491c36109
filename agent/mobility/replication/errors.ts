import { codeOf, WherryError } from '../../model/errors.ts'
import type { Checkpoint, VolumeRecord } from '../../model/model.ts'
import { orPromote } from '../errors.ts'
import type { HostDirectory } from '../host-contract.ts'

const HOPELESS: ReadonlySet<string | undefined> = new Set(['DISK_FULL', 'TREE_UNSUPPORTED', 'VOLUME_NOT_FOUND'])

/** Whether a retry changes nothing until an operator acts. */
export function isHopeless(error: unknown): boolean {
  return HOPELESS.has(codeOf(error))
}

/**
 * The holder wrote on while a copy that is far behind read its tree.
 * That is no damage, and the next checkpoint brings what is missing.
 */
export function changedMeanwhile(name: string, { epoch, seq }: Checkpoint, from: string): WherryError {
  return new WherryError(
    'COPY_RUNNING',
    [
      `Checkpoint ${epoch}.${seq} of volume "${name}" did not come whole from ${from}:`,
      'some of its data had changed there before it was read.',
    ].join(' '),
    { hint: 'The next checkpoint brings what is missing.' },
  )
}

/** The tree of a copy that nobody uses is not its checkpoint. `paths`: where, as far as that is known. */
export function changedAtRest(
  { name, id, last }: Pick<VolumeRecord, 'name' | 'id' | 'last'>,
  host: string,
  paths: readonly string[],
): WherryError {
  const where = paths.length === 0 ? '' : ` (${paths.join(', ')})`
  return new WherryError(
    'COPY_DAMAGED',
    [
      `The copy of volume "${name}" on ${host} is not what checkpoint ${last?.epoch}.${last?.seq} says${where}:`,
      `somebody changed files under volumes/${id}/data while no container used it, or the disk is damaged.`,
    ].join(' '),
    {
      hint: [
        `If no other host has a current copy: undo that change, then run there: wherry verify ${name}.`,
        orPromote('that cannot be done', name),
      ].join(' '),
    },
  )
}

/**
 * The copy here has writes that the cluster does not have.
 * The reconcile loop sets it aside soon (promise 7).
 */
export function notSetAsideYet(name: string): WherryError {
  return new WherryError(
    'COPY_RUNNING',
    [
      `The copy of volume "${name}" here has writes that the cluster does not have;`,
      'it is set aside before another takes its place.',
    ].join(' '),
    { hint: 'That happens by itself; start the container again in a moment.' },
  )
}

/** The copy came too late: this host holds the volume now. */
export function heldHere(name: string): WherryError {
  return new WherryError('VOLUME_IN_USE', `Volume "${name}" is held on this host.`)
}

/** Why one source did not deliver. */
export function sourceFailed(name: string, source: string, error: unknown): WherryError {
  const why = error instanceof WherryError ? error.toLine() : String(error)
  return new WherryError(
    'DATA_UNREACHABLE',
    `The newest data of volume "${name}" is on ${source}, which did not deliver it: ${why}`,
    {
      hint: `It is retried as long as someone asks for the volume. ${orPromote('it never comes', name)}`,
      cause: error,
    },
  )
}

/** No host that has the newest data can be reached: names them all. */
export function dataUnreachable(record: VolumeRecord, hosts: HostDirectory): WherryError {
  const { name, id, last, copies } = record
  const current = Object.entries(copies)
    .filter(([, copy]) => copy.state === 'current')
    .map(([host]) => hosts.labelWithAge(host))
  const damaged = hosts
    .all()
    .flatMap((host) => (host.damaged?.[id] === undefined ? [] : [{ host: host.id, path: host.damaged[id] }]))
    .map(({ host, path }) => changedAtRest(record, hosts.labelWithAge(host), [path]))
  const why = damaged.map(({ message }) => ` ${message}`).join('')
  return new WherryError(
    'DATA_UNREACHABLE',
    [
      `No host that can be reached has the newest data of volume "${name}" (checkpoint ${last?.epoch}.${last?.seq});`,
      `it is on: ${current.join(', ') || 'no known host'}.${why}`,
    ].join(' '),
    {
      hint:
        damaged[0]?.hint ??
        `Bring that host back, then start the container again. ${orPromote('it is lost for good', name)}`,
    },
  )
}

/** This host has seen a later epoch than the copy was asked for with (promise 8). */
export function epochPassed({ name, epoch }: VolumeRecord, epochSeen: number): WherryError {
  return new WherryError(
    'STALE_EPOCH',
    [
      `Epoch ${epochSeen} of volume "${name}" has been seen on this host,`,
      `a copy of epoch ${epoch} is not put in its place.`,
    ].join(' '),
  )
}

/** No heartbeat has said yet where that host is. */
export function unknownHost(host: string): WherryError {
  return new WherryError('DATA_UNREACHABLE', `Host ${host} has never been heard of.`, {
    hint: 'Wait until its agent has started once, or check WHERRY_PEERS.',
  })
}

/** The volume was removed while data came. */
export function removedMeanwhile(name: string): WherryError {
  return new WherryError('VOLUME_BUSY', `Volume "${name}" was removed while it was copied to this host.`, {
    hint: 'If there is a volume of that name again, start the container again.',
  })
}

/** A pre-seeded copy that no Mount asked for in time. */
export function nobodyAsked(name: string): WherryError {
  return new WherryError('VOLUME_HELD_ELSEWHERE', `Volume "${name}" was pre-seeded, but nobody asked for it here.`)
}

/** The holder or the epoch changed while data came. */
export function movedMeanwhile(name: string, cause: unknown): WherryError {
  return new WherryError('VOLUME_HELD_ELSEWHERE', `Volume "${name}" changed hands while it was on its way here.`, {
    hint: 'The copy continues from the new state.',
    cause,
  })
}

/** This host has nothing that could be verified. */
export function noCopy(name: string, host: string): WherryError {
  return new WherryError('NOT_AT_CHECKPOINT', `Host ${host} has no copy of volume "${name}" at a checkpoint.`, {
    hint: 'Ask a host that has one: docker volume inspect shows which.',
  })
}
