import type { DrainView, HostView, RecoverView, RemovalView, VerifyView, VolumeView } from '../agent/api/contract.ts'
import { age, describeNews, size } from '../agent/api/format.ts'
import { describeOptions } from '../agent/model/volume-options.ts'
import { table } from './table.ts'

const JUST_STARTED = 'This agent has just started: which hosts are away is not known yet.'

/** How answers of the agent look to people. `now` is for ages. */

export function showVolumes(volumes: readonly VolumeView[], now: Date): string {
  if (volumes.length === 0) return 'There are no volumes. Create one: docker volume create --driver wherry NAME'
  const rows = volumes.map((volume) => [
    volume.name,
    volume.holder?.host ?? '-',
    volume.holder?.containers.join(', ') || '-',
    volume.last === null ? '-' : `${volume.last.epoch}.${volume.last.seq}`,
    newestAge(volume, now),
    volume.last === null ? '-' : size(volume.last.bytes),
    copiesInShort(volume),
    newsInShort(volume),
  ])
  const list = table(['VOLUME', 'HOLDER', 'CONTAINERS', 'CHECKPOINT', 'AGE', 'SIZE', 'COPIES', ''], rows)
  if (volumes.some(({ stale }) => stale)) return `${list}\nThe registry does not answer: this is the last it said.`
  return volumes.some(({ hostsUnknown }) => hostsUnknown) ? `${list}\n${JUST_STARTED}` : list
}

export function showVolume(volume: VolumeView, now: Date): string {
  const { holder, last, move } = volume
  const facts: readonly (readonly [string, string | null])[] = [
    ['name', volume.name],
    ['id', volume.id],
    ['created', volume.createdAt],
    ['options', describeOptions(volume.options)],
    ['holder', holder === null ? 'none' : `${holder.host}, epoch ${holder.epoch}, since ${holder.since}`],
    ['containers', holder === null ? null : holder.containers.join(', ') || 'none'],
    ['epoch', String(volume.epoch)],
    ['checkpoint', last === null ? 'none yet' : describeLast(last, now)],
    ['on its way', move === null ? null : `from ${move.from}: ${size(move.bytesDone)} of ${size(move.bytesTotal)}`],
    ...describeNews(volume).map(([about, line]) => [about.replaceAll('_', ' '), line] as const),
  ]
  const known = facts.filter((fact): fact is readonly [string, string] => fact[1] !== null)
  const copies = volume.copies.map((copy) => [
    copy.host,
    copy.awaySince === null ? copy.state : 'away',
    `${copy.epoch}.${copy.seq}`,
    copy.awaySince ?? copy.at,
    copy.awaySince === null ? (copy.why ?? '') : `was ${copy.state} when it was last heard of`,
  ])
  const parts = [table(['', ''], known).trimStart()]
  if (copies.length > 0) parts.push(table(['COPY ON', 'STATE', 'CHECKPOINT', 'SINCE', ''], copies))
  return parts.join('\n\n')
}

function describeDamage({ path, reason, detail, blocks }: VerifyView['damaged'][number]): string {
  return `  ${path}: ${reason}${blocks > 0 ? `, ${blocks} blocks` : ''}${detail === null ? '' : ` (${detail})`}`
}

/** What is damaged, a line each, and what becomes of it. */
export function showVerification(view: VerifyView): string {
  const { volume, host, checkpoint, filesChecked, bytesRead, damaged, damagedCount, repairing } = view
  const what = `The copy of volume "${volume}" on ${host}`
  const at = `checkpoint ${checkpoint.epoch}.${checkpoint.seq}`
  if (damagedCount === 0) return `${what} is what ${at} says: ${filesChecked} files, ${size(bytesRead)} read.`
  const rest = damagedCount - damaged.length
  const next = repairing
    ? 'What is damaged is fetched from another host now.'
    : 'No other host has that checkpoint: see COPY_DAMAGED in docs/errors.md.'
  return [
    `${what} is not what ${at} says:`,
    ...damaged.map(describeDamage),
    ...(rest > 0 ? [`  and ${rest} more`] : []),
    next,
  ].join('\n')
}

export function showHosts(hosts: readonly HostView[]): string {
  const rows = hosts.map((host) => [
    host.self ? `${host.name} (this)` : host.name,
    host.address,
    describeHost(host),
    host.draining ? 'yes' : 'no',
    host.zone ?? '-',
    host.totalBytes === 0 ? '-' : `${size(host.freeBytes)} of ${size(host.totalBytes)}`,
    String(Object.keys(host.uses).length),
  ])
  const list = table(['HOST', 'ADDRESS', 'STATE', 'DRAINED', 'ZONE', 'FREE', 'HOLDS'], rows)
  return hosts.some(({ stale }) => stale)
    ? `${list}\nThe registry does not answer this host: this is the last it said. The other hosts may be well.`
    : list
}

function describeHost(host: HostView): string {
  const { unwritable } = host
  if (unwritable === null) return describeReach(host)
  return `${describeReach(host)}, cannot write its disk since ${unwritable.since} (${unwritable.code})`
}

/** A host that the registry does not answer knows nothing of the others. */
function describeReach({ self, alive, stale, unknown, lastSeen }: HostView): string {
  if (stale) return self ? 'without registry' : `last heard of ${lastSeen}`
  if (self && !alive) return 'without lease'
  if (unknown) return `not heard of yet, sent its last word at ${lastSeen}`
  return alive ? 'alive' : `away since ${lastSeen}`
}

export function showDrain({ host, draining, left }: DrainView): string {
  if (!draining) return `Host ${host} may have copies.`
  if (left.length === 0) return `Host ${host} has no copies any more.`
  return `Host ${host} is being drained. Still here:\n${table(
    ['VOLUME', 'WHY'],
    left.map(({ volume, why }) => [volume, why]),
  )}`
}

export function showRemoval({ volume, id, references, lost }: RemovalView): string {
  return [
    `Removed ${volume} (${id}). Each host that nothing keeps from it moves its copy to trash/${id}-* of its state directory, for the retention time.`,
    ...(references.length === 0 ? [] : ['It was referred to by:', ...references.map((line) => `  ${line}`)]),
    ...lost.map((host) => `Host ${host} was given up: when it returns, what it has is moved to set-aside/ there.`),
  ].join('\n')
}

export function showRecovery({ written, kept, problems }: RecoverView): string {
  return [
    written.length === 0 ? 'No record was written.' : `Written anew: ${written.join(', ')}.`,
    ...(kept.length === 0 ? [] : [`Not behind the disks, left as they are: ${kept.join(', ')}.`]),
    ...problems.map((problem) => `Problem: ${problem}`),
  ].join('\n')
}

/** Of a volume in use: how much of its newest writes a loss of its host would cost; `none`: all, as no living host has the newest checkpoint. */
function newestAge({ last, elsewhere, holder, options }: VolumeView, now: Date): string {
  if (elsewhere !== null) return age(elsewhere.ageSeconds)
  if (holder !== null) return options.copies === 1 ? '-' : 'none'
  return last === null ? '-' : ageOf(last.at, now)
}

/** What a person should look at; `inspect` says more. */
function newsInShort(volume: VolumeView): string {
  const { holder, stuck, unwritable, fenced, diverged, divergedElsewhere, checkpointing, namesakes } = volume
  const trees = divergedElsewhere.reduce((sum, { trees }) => sum + trees, diverged.length)
  return [
    ...(holder === null || holder.away === null ? [] : [`holder ${holder.away}`]),
    ...(isOutOfReach(volume) ? [whyOutOfReach(volume)] : []),
    ...(stuck === null ? [] : [`cannot be released: ${stuck.code}`]),
    ...(unwritable === null ? [] : [`the holder's disk cannot be written: ${unwritable.code}`]),
    ...(fenced.length === 0 ? [] : ['fenced']),
    ...((checkpointing?.failures ?? 0) === 0 ? [] : ['checkpoints fail']),
    ...(trees === 0 ? [] : [trees === 1 ? '1 diverged tree' : `${trees} diverged trees`]),
    ...(namesakes.length === 0 ? [] : [`local volume of this name on ${namesakes.join(', ')}`]),
  ].join(', ')
}

/** Of a volume at rest: no host that is alive has its newest checkpoint. */
function isOutOfReach({ holder, last, copies }: VolumeView): boolean {
  const isHere = ({ state, awaySince }: VolumeView['copies'][number]) => state === 'current' && awaySince === null
  return holder === null && last !== null && !copies.some(isHere)
}

function whyOutOfReach({ copies }: VolumeView): string {
  const isAway = copies.some(({ awaySince }) => awaySince !== null)
  return isAway ? 'newest data is on hosts that are away' : 'no copy of the newest data can be used'
}

function copiesInShort({ copies }: VolumeView): string {
  const shown = copies.map(({ host, state, awaySince }) => {
    const what = awaySince === null ? state : 'away'
    return what === 'current' ? host : `${host} (${what})`
  })
  return shown.join(', ') || '-'
}

function describeLast({ epoch, seq, at, bytes, files }: NonNullable<VolumeView['last']>, now: Date): string {
  return `${epoch}.${seq}, ${ageOf(at, now)} old, ${size(bytes)} in ${files} files`
}

function ageOf(at: string, now: Date): string {
  return age((now.getTime() - Date.parse(at)) / 1000)
}
