import type { Command } from 'commander'
import type { VolumeView } from '../../agent/api/contract.ts'
import { describeOutage, formatAge, formatSize } from '../../agent/api/format.ts'
import { newCommand, printView, type Run } from '../command.ts'
import { textTable } from '../table.ts'

const JUST_STARTED = 'This agent has just started: which hosts are away is not known yet.'

export function lsCommand(run: Run): Command {
  return newCommand('ls', 'list volumes, their holders, and the age of their newest checkpoints').action(
    run(async (call) => printView(call, await call.agent.list(call.signal), (list) => showVolumes(list, new Date()))),
  )
}

/** Prints the volumes in a table. `now` is for ages. */
export function showVolumes(volumes: readonly VolumeView[], now: Date): string {
  if (volumes.length === 0) return 'There are no volumes. Create one: docker volume create --driver wherry NAME'
  const rows = volumes.map((volume) => [
    volume.name,
    volume.holder?.host ?? '-',
    volume.holder?.containers.join(', ') || '-',
    volume.last === null ? '-' : `${volume.last.epoch}.${volume.last.seq}`,
    newestAge(volume, now),
    volume.last === null ? '-' : formatSize(volume.last.bytes),
    copiesInShort(volume),
    conditionsInShort(volume),
  ])
  const list = textTable(['VOLUME', 'HOLDER', 'CONTAINERS', 'CHECKPOINT', 'AGE', 'SIZE', 'COPIES', ''], rows)
  const [first] = volumes.filter(({ stale }) => stale)
  if (first !== undefined) return `${list}\nBeware: ${describeOutage(first)}. This is the last known state.`
  return volumes.some(({ hostsUnknown }) => hostsUnknown) ? `${list}\n${JUST_STARTED}` : list
}

/**
 * While the volume is in use: how many of its newest writes a loss of its host would cost. `none`: all of them, because
 * no living host has the newest checkpoint.
 */
function newestAge({ last, elsewhere, holder, options }: VolumeView, now: Date): string {
  if (elsewhere !== null) return formatAge(elsewhere.ageSeconds)
  if (holder !== null) return options.copies === 1 ? '-' : 'none'
  return last === null ? '-' : formatAge((now.getTime() - Date.parse(last.at)) / 1000)
}

function copiesInShort({ copies }: VolumeView): string {
  const shown = copies.map(({ host, state, awaySince }) => {
    const what = awaySince === null ? state : 'away'
    return what === 'current' ? host : `${host} (${what})`
  })
  return shown.join(', ') || '-'
}

/** What the operator should look at; `inspect` says more. */
function conditionsInShort(volume: VolumeView): string {
  const { holder, stuck, unwritable, fenced, diverged, divergedElsewhere, checkpointing, late, namesakes } = volume
  const trees = divergedElsewhere.reduce((sum, { trees }) => sum + trees, diverged.length)
  return [
    ...(holder === null || holder.away === null ? [] : [`holder ${holder.away}`]),
    ...(isOutOfReach(volume) ? [whyOutOfReach(volume)] : []),
    ...(stuck === null ? [] : [`cannot be released: ${stuck.code}`]),
    ...(unwritable === null ? [] : [`the holder's disk cannot be written: ${unwritable.code}`]),
    ...(fenced.length === 0 ? [] : ['fenced']),
    ...((checkpointing?.failures ?? 0) === 0 && late == null ? [] : [checkpointsFail(late?.code)]),
    ...(trees === 0 ? [] : [trees === 1 ? '1 diverged tree' : `${trees} diverged trees`]),
    ...(namesakes.length === 0 ? [] : [`local volume of this name on ${namesakes.join(', ')}`]),
  ].join(', ')
}

function checkpointsFail(code: string | undefined): string {
  return code === undefined ? 'checkpoints fail' : `checkpoints fail: ${code}`
}

/** True when no host holds the volume and no living host has its newest checkpoint. */
function isOutOfReach({ holder, last, copies }: VolumeView): boolean {
  const isHere = ({ state, awaySince }: VolumeView['copies'][number]) => state === 'current' && awaySince === null
  return holder === null && last !== null && !copies.some(isHere)
}

function whyOutOfReach({ copies }: VolumeView): string {
  const isAway = copies.some(({ awaySince }) => awaySince !== null)
  return isAway ? 'newest data is on hosts that are away' : 'no copy of the newest data can be used'
}
