import type { DrainView, HostView, RecoverView, VolumeView } from '../agent/api/contract.ts'
import { age, size, table } from './table.ts'

/** How answers of the agent look to people. `now` is for ages. */

export function showVolumes(volumes: readonly VolumeView[], now: Date): string {
  if (volumes.length === 0) return 'There are no volumes. Create one: docker volume create --driver wherry NAME'
  const rows = volumes.map((volume) => [
    volume.name,
    volume.holder?.host ?? '-',
    volume.holder?.containers.join(', ') || '-',
    volume.last === null ? '-' : `${volume.last.epoch}.${volume.last.seq}`,
    volume.last === null ? '-' : ageOf(volume.last.at, now),
    volume.last === null ? '-' : size(volume.last.bytes),
    copiesInShort(volume),
  ])
  const list = table(['VOLUME', 'HOLDER', 'CONTAINERS', 'CHECKPOINT', 'AGE', 'SIZE', 'COPIES'], rows)
  return volumes.some(({ stale }) => stale) ? `${list}\nThe registry does not answer: this is the last it said.` : list
}

export function showVolume(volume: VolumeView, now: Date): string {
  const { options, holder, last, seizure, checkpointing } = volume
  const facts: (readonly [string, string] | null)[] = [
    ['name', volume.name],
    ['id', volume.id],
    ['created', volume.createdAt],
    ['options', describeOptions(options)],
    ['holder', holder === null ? 'none' : `${holder.host}, epoch ${holder.epoch}, since ${holder.since}`],
    holder === null ? null : ['containers', holder.containers.join(', ') || 'none'],
    ['epoch', String(volume.epoch)],
    [
      'checkpoint',
      last === null
        ? 'none yet'
        : `${last.epoch}.${last.seq}, ${ageOf(last.at, now)} old, ${size(last.bytes)} in ${last.files} files`,
    ],
    checkpointing === null ? null : ['checkpoints', describeCheckpoints(checkpointing)],
    seizure === null
      ? null
      : [
          'taken over',
          `by ${seizure.by} from ${seizure.from} at ${seizure.at}, at checkpoint ${seizure.epoch}.${seizure.seq}, which was ${age(seizure.ageSeconds)} old`,
        ],
    volume.move === null
      ? null
      : ['on its way', `from ${volume.move.from}: ${size(volume.move.bytesDone)} of ${size(volume.move.bytesTotal)}`],
    ...volume.diverged.map(
      ({ name, epoch, at }) =>
        [
          'diverged',
          `diverged/${name}: writes of epoch ${epoch} that the cluster never got, put aside at ${at}`,
        ] as const,
    ),
  ]
  const known = facts.filter((fact) => fact !== null)
  const copies = volume.copies.map((copy) => [copy.host, copy.state, `${copy.epoch}.${copy.seq}`, copy.at])
  const parts = [table(['', ''], known).trimStart()]
  if (copies.length > 0) parts.push(table(['COPY ON', 'STATE', 'CHECKPOINT', 'SINCE'], copies))
  if (volume.stale) parts.push('The registry does not answer: this is the last it said.')
  return parts.join('\n\n')
}

export function showHosts(hosts: readonly HostView[]): string {
  const rows = hosts.map((host) => [
    host.self ? `${host.name} (this)` : host.name,
    host.address,
    host.alive ? 'alive' : `away since ${host.lastSeen}`,
    host.draining ? 'yes' : 'no',
    host.zone ?? '-',
    host.totalBytes === 0 ? '-' : `${size(host.freeBytes)} of ${size(host.totalBytes)}`,
    String(Object.keys(host.uses).length),
  ])
  return table(['HOST', 'ADDRESS', 'STATE', 'DRAINED', 'ZONE', 'FREE', 'HOLDS'], rows)
}

export function showDrain({ host, draining, left }: DrainView): string {
  if (!draining) return `Host ${host} may have copies.`
  if (left.length === 0) return `Host ${host} has no copies any more.`
  return `Host ${host} is being drained. Still here:\n${table(
    ['VOLUME', 'WHY'],
    left.map(({ volume, why }) => [volume, why]),
  )}`
}

export function showRecovery({ written, kept, problems }: RecoverView): string {
  return [
    written.length === 0 ? 'No record was written.' : `Written anew: ${written.join(', ')}.`,
    ...(kept.length === 0 ? [] : [`Not behind the disks, left as they are: ${kept.join(', ')}.`]),
    ...problems.map((problem) => `Problem: ${problem}`),
  ].join('\n')
}

function copiesInShort(volume: VolumeView): string {
  return volume.copies.map(({ host, state }) => (state === 'current' ? host : `${host} (${state})`)).join(', ') || '-'
}

function describeOptions(options: VolumeView['options']): string {
  const { uid, gid, mode, copies, checkpointMs, consistency, failover, onIsolation } = options
  const checkpoint = checkpointMs === null ? 'off' : `${checkpointMs / 1000}s`
  return `uid=${uid} gid=${gid} mode=${mode.toString(8).padStart(4, '0')} copies=${copies} checkpoint=${checkpoint} consistency=${consistency} failover=${failover} on_isolation=${onIsolation}`
}

function describeCheckpoints(view: NonNullable<VolumeView['checkpointing']>): string {
  const { state, ageSeconds, pauseMs, intervalMs, error } = view
  const parts = [
    state,
    ageSeconds === null ? 'none on another host yet' : `newest on another host ${age(ageSeconds)} old`,
    ...(pauseMs === null ? [] : [`containers paused ${Math.round(pauseMs)} ms`]),
    ...(state === 'off' ? [] : [`every ${age(intervalMs / 1000)}`]),
    ...(error === null ? [] : [`last try failed: ${error}`]),
  ]
  return parts.join(', ')
}

function ageOf(at: string, now: Date): string {
  return age((now.getTime() - Date.parse(at)) / 1000)
}
