import { codeOf, WherryError } from '../model/errors.ts'
import type { Checkpoint, Trouble, VolumeRecord } from '../model/model.ts'
import type { LocalCopy } from '../store/contract.ts'
import type { Context } from './context.ts'
import type { RunningCopy } from './copy-contract.ts'
import type { HostDirectory } from './host-contract.ts'
import { sentenceOf } from './trouble.ts'

/** Only for when the registry said so itself. */
export function notFound(name: string): WherryError {
  return new WherryError('VOLUME_NOT_FOUND', `There is no volume "${name}".`, {
    hint: `Create it: docker volume create --driver wherry ${name}`,
  })
}

export function heldElsewhere(context: Context, record: VolumeRecord): WherryError {
  const { holder } = record
  if (holder === null) return changedHands(record.name)
  const containers = context.hosts.containers(holder.host, record.id)
  const users = containers.length === 0 ? 'no container that is known' : `container ${containers.join(', ')}`
  const where = context.hosts.labelWithAge(holder.host)
  const copies = Object.keys(record.copies).filter((id) => id !== holder.host && record.copies[id]?.state !== 'filling')
  const isHere = (id: string) => id === context.dependencies.self.id || context.hosts.alive(id)
  const others = copies.map((id) => context.hosts.labelWithAge(id)).join('; ')
  const only =
    copies.length === 0
      ? ' Its data is on that host alone.'
      : copies.some(isHere)
        ? ''
        : ` Its other copies are out of reach: ${others}.`
  const away = !context.hosts.alive(holder.host) && holder.host !== context.dependencies.self.id
  return new WherryError(
    'VOLUME_HELD_ELSEWHERE',
    `Volume "${record.name}" is in use on host ${where} by ${users} (epoch ${record.epoch}, since ${holder.since}).${only}`,
    {
      hint: away
        ? `Bring host ${context.hosts.label(holder.host)} back, or reconnect it; nothing else has its newest data.`
        : `Stop ${containers.length === 0 ? 'what uses it' : containers.join(', ')} there first; the volume then follows to this host by itself.`,
    },
  )
}

/** A way past what keeps a holder from releasing; '' where there is none: whoever writes has to be ended. */
function orPromoteStuck(name: string, code: string): string {
  return code === 'VOLUME_BUSY' ? '' : ` Or go on without that: wherry promote ${name}`
}

/** The holder lives, no container uses the volume there, and it cannot release it all the same. */
export function releaseFailed(context: Context, record: VolumeRecord, trouble: Trouble): WherryError {
  const { code, text, since } = trouble
  const host = record.holder === null ? 'no host' : `host ${context.hosts.labelWithAge(record.holder.host)}`
  return new WherryError(
    'RELEASE_FAILED',
    [
      `Volume "${record.name}" is held by ${host},${code === 'COPY_DAMAGED' ? '' : ' where no container uses it, but'}`,
      `which cannot release it (${code}, since ${since}): ${sentenceOf(text)}`,
    ].join(' '),
    {
      hint: `Mend that there; the volume then follows to this host by itself.${orPromoteStuck(record.name, code)}`,
    },
  )
}

/** This host cannot keep anything that it would promise. */
export function stateUnwritable(context: Context, name: string, trouble: Trouble): WherryError {
  const { code, text, since } = trouble
  const host = context.hosts.label(context.dependencies.self.id)
  return new WherryError(
    'STATE_UNWRITABLE',
    [
      `Host ${host} cannot write its state directory (${code}, since ${since}),`,
      `so nothing can be done with volume "${name}" here: ${sentenceOf(text)}`,
    ].join(' '),
    { hint: "Look at the kernel's log, mend the disk, or use another host." },
  )
}

/** Why a Mount has to wait for the data, with progress (promise 9). */
export function copyRunning(context: Context, record: VolumeRecord, job: RunningCopy): WherryError {
  const view = job.view('')
  // However much of it comes, it never is what was asked for.
  if (job.lastError instanceof WherryError && job.lastError.code === 'COPY_DAMAGED') return job.lastError
  if (view.state !== 'running' || view.bytesTotal === 0) {
    if (job.lastError instanceof WherryError) return job.lastError
    const from = view.from === '' ? '' : ` from ${view.from}`
    return new WherryError('COPY_RUNNING', `Volume "${record.name}" is about to be copied to this host${from}.`, {
      hint: 'The copy goes on; start the container again in a moment.',
    })
  }
  const percent = Math.floor((100 * view.bytesDone) / view.bytesTotal)
  const left = view.secondsLeft === null ? 'time left unknown' : `about ${view.secondsLeft} s left`
  return new WherryError(
    'COPY_RUNNING',
    `Volume "${record.name}" is being copied from ${view.from} to ${context.hosts.label(context.dependencies.self.id)}: ${megabytes(view.bytesDone)} of ${megabytes(view.bytesTotal)} MB (${percent} %), ${left}.`,
    { hint: 'The copy goes on; start the container again then, it joins the running copy.' },
  )
}

/** Why a Mount has to wait although the data is here: the tree is compared with its checkpoint. */
export function checkRunning(context: Context, record: VolumeRecord): WherryError {
  return new WherryError(
    'COPY_RUNNING',
    `The copy of volume "${record.name}" on ${context.hosts.label(context.dependencies.self.id)} is still being compared with its checkpoint (${megabytes(record.last?.bytes ?? 0)} MB).`,
    { hint: 'That goes on; start the container again in a moment.' },
  )
}

/** Why a Mount has to wait although this host has the volume: its last use is being wound up. */
export function stillReleasing(context: Context, name: string): WherryError {
  return new WherryError(
    'VOLUME_BUSY',
    `Host ${context.hosts.label(context.dependencies.self.id)} is still taking the final checkpoint of volume "${name}".`,
    { hint: 'That goes on; start the container again in a moment.' },
  )
}

/** `trouble`: why the removed volume could not be put away when that was tried last. */
export function earlierHeld(context: Context, name: string, trouble: Trouble | null): WherryError {
  const host = context.hosts.label(context.dependencies.self.id)
  const why = trouble === null ? 'it is being put away.' : `it cannot be put away: ${sentenceOf(trouble.text)}`
  return new WherryError(
    'VOLUME_BUSY',
    `Host ${host} still has a removed volume that had the name "${name}" in use; ${why}`,
    { hint: 'Start the container again once that is over.' },
  )
}

export function holdsNothing(context: Context, record: VolumeRecord): WherryError {
  return new WherryError(
    'COPY_DAMAGED',
    `The registry says that this host (${context.hosts.label(context.dependencies.self.id)}) has volume "${record.name}" (id ${record.id}), but there is no copy of it on its disk.`,
    {
      hint: 'Check that the state directory is the one used before (docker plugin inspect, setting state.source). Nothing empty is mounted in its place.',
    },
  )
}

export function registryBehind(context: Context, record: VolumeRecord, local: LocalCopy): WherryError {
  return new WherryError(
    'COPY_DAMAGED',
    `The registry says epoch ${record.epoch} for volume "${record.name}", but the disk of ${context.hosts.label(context.dependencies.self.id)} has seen epoch ${local.epochSeen}: the registry has lost changes.`,
    { hint: 'Run "wherry recover" on a host that reaches all others; it writes the records anew from the disks.' },
  )
}

/** The same for what other hosts' disks say. */
export function registryBehindDisks(record: VolumeRecord, epochSeen: number): WherryError {
  return new WherryError(
    'COPY_DAMAGED',
    `The registry says epoch ${record.epoch} for volume "${record.name}", but a disk of the cluster has seen epoch ${epochSeen}: the registry has lost changes.`,
    { hint: 'Run "wherry recover" on a host that reaches all others; it writes the records anew from the disks.' },
  )
}

export function recordLost(context: Context, local: LocalCopy): WherryError {
  return new WherryError(
    'COPY_DAMAGED',
    `Host ${context.hosts.label(context.dependencies.self.id)} holds volume "${local.name}" (id ${local.id}), but the registry has no such volume.`,
    { hint: 'The data stays on this disk. Run "wherry recover" before using the volume.' },
  )
}

/** This host may neither hold nor mount: others may take over what it has. */
export function leaseLost(context: Context, name: string): WherryError {
  const { trouble } = context.stateDisk
  if (trouble !== null) return stateUnwritable(context, name, trouble)
  return new WherryError(
    'LEASE_LOST',
    `Host ${context.hosts.label(context.dependencies.self.id)} has lost its lease: the registry has not acknowledged a renewal for ${Math.round(context.dependencies.leaseMs / 1000)} s, so volume "${name}" cannot be mounted here now.`,
    {
      hint: 'That passes when the registry answers again; check that more than half of the nats-servers run and that this host reaches them.',
    },
  )
}

/** The holder may be lost, and may still come back. */
export function leaseRunning(context: Context, record: VolumeRecord, waitMs: number): WherryError {
  const { holder } = record
  if (holder === null || context.hosts.alive(holder.host)) return heldElsewhere(context, record)
  const wait = Number.isFinite(waitMs)
    ? `in ${Math.ceil(waitMs / 1000)} s`
    : 'when the registry answers this host without a break'
  return new WherryError(
    'VOLUME_HELD_ELSEWHERE',
    `Volume "${record.name}" is held by host ${context.hosts.labelWithAge(holder.host)}, which may still be writing; it can be taken over ${wait}.`,
    { hint: 'That happens by itself if the host stays silent.' },
  )
}

/** Somebody else was faster. */
export function changedHands(name: string): WherryError {
  return new WherryError('VOLUME_HELD_ELSEWHERE', `Volume "${name}" changed hands just now.`, { hint: 'Try again.' })
}

/** What going on from `best` costs when `last` cannot be had. */
export function wouldLose(last: Checkpoint, best: Checkpoint): string {
  const name = ({ epoch, seq, at }: Checkpoint) => `checkpoint ${epoch}.${seq}, taken ${at}`
  const newest = `the newest data (${name(last)}) is on no copy that can be used`
  return `${newest}, and without it what was written after ${name(best)}, is lost`
}

/**
 * Why a volume is not taken over from a lost holder by itself: who has what, and what a person can do. `command`: what
 * goes on all the same; null: nothing can. `maySend`: the holder lives, and that command fetches what it has.
 */
export function failoverRefused(
  context: Context,
  record: VolumeRecord,
  described: string,
  why: string,
  command: string | null,
  maySend = false,
): WherryError {
  const whyAndWho = `${sentenceOf(why)} ${sentenceOf(described)}`
  if (record.holder === null) return idleRefused(record, whyAndWho, command)
  const { host } = record.holder
  return new WherryError(
    'FAILOVER_REFUSED',
    `Volume "${record.name}" is held by host ${context.hosts.labelWithAge(host)}, and is not taken over: ${whyAndWho}`,
    { hint: wayOut(record.name, context.hosts.label(host), command, maySend) },
  )
}

function wayOut(name: string, host: string, command: string | null, maySend: boolean): string {
  if (command === null) {
    const giveUp = `give the volume up: wherry rm ${name} --accept-loss`
    return `Bring that host back; nothing else has its data. If it is lost for good, ${giveUp}`
  }
  if (!maySend) return `Bring that host back, or go on without what only it has: ${command}`
  const sends = `Host ${host} may still be able to send what it has, which a Mount alone does not ask for`
  return `${sends}. Stop what uses the volume there, then fetch it: ${command}`
}

/** The same of a volume that no host holds. */
function idleRefused({ name }: VolumeRecord, whyAndWho: string, command: string | null): WherryError {
  const back = 'Bring a host that has it back, or mend its copy (COPY_DAMAGED in docs/errors.md)'
  return new WherryError(
    'FAILOVER_REFUSED',
    `Volume "${name}" is not held by any host and cannot be mounted: ${whyAndWho}`,
    {
      hint:
        command === null
          ? `${back}; no other copy can be had now. If it is lost for good, copy out what is there, then: wherry rm ${name}`
          : `${back}; or give it up: ${command}`,
    },
  )
}

export function treeTampered(context: Context, record: VolumeRecord): WherryError {
  return changedAtRest(record, context.hosts.label(context.dependencies.self.id), [])
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1)
}

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
