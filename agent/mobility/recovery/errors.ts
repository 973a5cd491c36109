import { WherryError } from '../../model/errors.ts'
import type { DamagedCopy, LocalCopy } from '../../store/contract.ts'

/** The host at an address replies as another host than the one whose heartbeat names it. `asked`, `host`: labels. */
export function otherHost(asked: string, host: string): WherryError {
  return new WherryError('PEER_REFUSED', `${asked} was asked, and the reply is that of ${host}.`)
}

/** A disk has a copy of such a volume whose record cannot be read. `host`: its label. */
export function unreadableData(name: string, { path, reason }: DamagedCopy, host: string): WherryError {
  return new WherryError(
    'VOLUME_EXISTS',
    `Host ${host} has a copy of a volume "${name}" that cannot be read and that the registry does not know: ${reason}`,
    { hint: `Make it readable and run "wherry recover", or move ${path} on that host away, then try again.` },
  )
}

/** A disk has data of a volume that the registry does not know. `host`: its label. */
export function forgottenData({ id, name, checkpoint }: LocalCopy, host: string): WherryError {
  const what = checkpoint === null ? 'no checkpoint yet' : `checkpoint of ${checkpoint.at}`
  return new WherryError(
    'VOLUME_EXISTS',
    [
      `Host ${host} has data of a volume "${name}" (${id}, ${what}) of which the registry knows nothing,`,
      'not even that it was removed.',
    ].join(' '),
    {
      hint: [
        'The registry has lost changes: run "wherry recover".',
        `If that data is not wanted, move the directory volumes/${id} of that host away, then try again.`,
      ].join(' '),
    },
  )
}
