import { WherryError } from '../../model/errors.ts'
import type { Checkpoint, VolumeRecord } from '../../model/model.ts'
import { heldElsewhere } from '../errors.ts'
import type { HostDirectory } from '../host-contract.ts'
import { sentenceOf } from '../trouble.ts'

/**
 * The holder may be lost, and may still come back: its lease can be ended in `waitMs`.
 * `self`: this host's id.
 */
export function leaseRunning(record: VolumeRecord, hosts: HostDirectory, self: string, waitMs: number): WherryError {
  const { holder } = record
  if (holder === null || hosts.alive(holder.host)) return heldElsewhere(record, hosts, self)
  const wait = Number.isFinite(waitMs)
    ? `in ${Math.ceil(waitMs / 1000)} s`
    : 'when the registry has replied to this host without a break'
  return new WherryError(
    'VOLUME_HELD_ELSEWHERE',
    [
      `Volume "${record.name}" is held by host ${hosts.labelWithAge(holder.host)}, which may still be writing;`,
      `it can be taken over ${wait}.`,
    ].join(' '),
    { hint: 'That happens by itself if the host stays silent.' },
  )
}

/** What continuing from `best` costs when `last` cannot be had. */
export function describeLoss(last: Checkpoint, best: Checkpoint): string {
  const name = ({ epoch, seq, at }: Checkpoint) => `checkpoint ${epoch}.${seq}, taken ${at}`
  const newest = `the newest data (${name(last)}) is on no copy that can be used`
  return `${newest}, and without it what was written after ${name(best)}, is lost`
}

/** Why a volume is not taken over by itself. */
export interface Refusal {
  /** Who has what. */
  readonly described: string
  readonly why: string
  /** What takes it over all the same; null: nothing can. */
  readonly command: string | null
  /** The holder is alive, and that command fetches what it has. */
  readonly maySend?: boolean
}

/** FAILOVER_REFUSED: who has what, and what an operator can do. */
export function failoverRefused(record: VolumeRecord, hosts: HostDirectory, refusal: Refusal): WherryError {
  const whyAndWho = `${sentenceOf(refusal.why)} ${sentenceOf(refusal.described)}`
  if (record.holder === null) return idleRefused(record.name, whyAndWho, refusal.command)
  const { host } = record.holder
  return new WherryError(
    'FAILOVER_REFUSED',
    `Volume "${record.name}" is held by host ${hosts.labelWithAge(host)}, and is not taken over: ${whyAndWho}`,
    { hint: wayOut(record.name, hosts.label(host), refusal) },
  )
}

function wayOut(name: string, host: string, { command, maySend = false }: Refusal): string {
  if (command === null) {
    const giveUp = `give the volume up: wherry rm ${name} --accept-loss`
    return `Bring that host back; nothing else has its data. If it is lost for good, ${giveUp}`
  }
  if (!maySend) return `Bring that host back, or take the volume over without what only it has: ${command}`
  const sends = `Host ${host} may still be able to send what it has, which a Mount alone does not ask for`
  return `${sends}. Stop what uses the volume there, then fetch it: ${command}`
}

/** The same for a volume that no host holds. */
function idleRefused(name: string, whyAndWho: string, command: string | null): WherryError {
  const back = 'Bring a host that has it back, or repair its copy (COPY_DAMAGED in docs/errors.md)'
  return new WherryError(
    'FAILOVER_REFUSED',
    `Volume "${name}" is not held by any host and cannot be mounted: ${whyAndWho}`,
    {
      hint:
        command === null
          ? [
              `${back}; no other copy can be had now.`,
              `If it is lost for good, copy out what is there, then: wherry rm ${name}`,
            ].join(' ')
          : `${back}; or give it up: ${command}`,
    },
  )
}
