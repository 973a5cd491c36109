import { WherryError } from '../../model/errors.ts'
import type { VolumeRecord } from '../../model/model.ts'

/** This host does not take the checkpoint that it is offered (promise 8). `host`: its label. */
export function offerRefused({ name, epoch }: VolumeRecord, host: string, why: string): WherryError {
  return new WherryError(
    'STALE_EPOCH',
    `Host ${host} takes no checkpoint of epoch ${epoch} of volume "${name}": ${why}.`,
  )
}

/**
 * An offer names a host, and the certificate of the connection is not made out for that host's address.
 * `sender`: the name in the certificate. `host`, `named`: labels.
 */
export function senderUnproven(name: string, host: string, sender: string, named: string): WherryError {
  return new WherryError(
    'PEER_REFUSED',
    `Host ${host} takes no checkpoint of volume "${name}" from ${sender}, which says that it is ${named}.`,
    { hint: 'The certificate of a host must be made out for the address that it advertises; scripts/certs makes it.' },
  )
}

/** A tree was asked for with an epoch below what this disk has seen (promise 8). */
export function requestStale(name: string, host: string, epochSeen: number, epoch: number): WherryError {
  return new WherryError(
    'STALE_EPOCH',
    `Host ${host} has seen epoch ${epochSeen} of volume "${name}", the request came with epoch ${epoch}.`,
  )
}

/** There is no copy here, or it is half applied or damaged. */
export function noCompleteCopy(id: string, host: string): WherryError {
  return new WherryError('NOT_AT_CHECKPOINT', `Host ${host} has no complete copy of volume ${id}.`)
}

/** The copy here is at another checkpoint than the one asked for. */
export function notAtCheckpoint(name: string, host: string): WherryError {
  return new WherryError('NOT_AT_CHECKPOINT', `The copy of volume "${name}" on host ${host} is not at that checkpoint.`)
}

/** A live tree was asked for after the release. */
export function noLongerHeld(name: string, host: string): WherryError {
  return new WherryError('NOT_AT_CHECKPOINT', `Host ${host} does not hold volume "${name}" any more.`)
}
