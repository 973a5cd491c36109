import type { VolumeView } from '../agent/api/contract.ts'
import { describeConditions, formatAge, formatProgress, formatSize } from '../agent/api/format.ts'
import { describeOptions } from '../agent/model/volume-options.ts'
import { textTable } from './table.ts'

/** Prints everything about one volume. `now` is for ages. */
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
    ['incoming copy', move === null ? null : describeMove(move)],
    ...describeConditions(volume).map(([about, line]) => [about.replaceAll('_', ' '), line] as const),
  ]
  const known = facts.filter((fact): fact is readonly [string, string] => fact[1] !== null)
  const copies = volume.copies.map((copy) => [
    copy.host,
    copy.awaySince === null ? copy.state : 'away',
    `${copy.epoch}.${copy.seq}`,
    copy.awaySince ?? copy.at,
    copy.awaySince === null ? (copy.why ?? '') : `was ${copy.state} when it was last heard from`,
  ])
  const parts = [textTable(['', ''], known).trimStart()]
  if (copies.length > 0) parts.push(textTable(['COPY ON', 'STATE', 'CHECKPOINT', 'SINCE', ''], copies))
  return parts.join('\n\n')
}

function describeLast({ epoch, seq, at, bytes, files }: NonNullable<VolumeView['last']>, now: Date): string {
  const age = formatAge((now.getTime() - Date.parse(at)) / 1000)
  return `${epoch}.${seq}, ${age} old, ${formatSize(bytes)} in ${files} files`
}

function describeMove(move: NonNullable<VolumeView['move']>): string {
  return `from ${move.from}: ${formatProgress(move)}`
}
