import type { MoveView, VolumeView } from '../agent/api/contract.ts'
import { describeConditions, formatCopy, formatProgress, formatSize } from '../agent/api/format.ts'
import { describeOptions } from '../agent/model/volume-options.ts'

/** A volume in the form of Docker's plugin protocol. */
export interface DockerVolume {
  readonly Name: string
  readonly Mountpoint: string
  readonly CreatedAt?: string
  readonly Status: Readonly<Record<string, string | number>>
}

/** Converts a volume to what `docker volume inspect` shows. */
export function toDockerVolume(view: VolumeView): DockerVolume {
  return {
    Name: view.name,
    Mountpoint: view.mountpoint,
    ...createdAt(view.createdAt),
    Status: toStatus(view),
  }
}

/** Describes a volume of which only its existence is known now; `error` says why. */
export function silentVolume(name: string, error: unknown): DockerVolume {
  const why = error instanceof Error ? error.message : String(error)
  return { Name: name, Mountpoint: '', Status: { stale: `it exists, and nothing else is known: ${why}` } }
}

/** Leaves out a time that dockerd cannot parse: it would take the response for "no such volume" (promise 10). */
function createdAt(iso: string): { CreatedAt?: string } {
  const date = new Date(iso)
  return Number.isNaN(date.getTime()) ? {} : { CreatedAt: date.toISOString() }
}

/** One line for each fact about a volume, without nesting: Docker prints it as it comes. */
function toStatus(view: VolumeView): Record<string, string | number> {
  const { holder, last, move } = view
  return {
    id: view.id,
    holder: holder === null ? 'none' : holder.host,
    host: holder === null ? 'none' : holder.address,
    since: holder === null ? 'none' : holder.since,
    containers: holder === null || holder.containers.length === 0 ? 'none' : holder.containers.join(', '),
    epoch: view.epoch,
    checkpoint:
      last === null
        ? 'none'
        : `epoch ${last.epoch}, seq ${last.seq}, ${last.files} files, ${formatSize(last.bytes)}, ${last.at}`,
    copies: view.copies.map(formatCopy).join(', ') || 'none',
    move: move === null ? 'none' : describeMove(move),
    options: describeOptions(view.options),
    ...news(view),
  }
}

function news(view: VolumeView): Record<string, string> {
  const lines = Map.groupBy(describeConditions(view), ([about]) => about)
  return Object.fromEntries(Array.from(lines, ([about, found]) => [about, found.map(([, line]) => line).join('; ')]))
}

function describeMove(move: MoveView): string {
  const rate = move.state === 'running' ? `, ${formatSize(move.bytesPerSecond)}/s` : ''
  const left = move.secondsLeft === null ? '' : `, about ${Math.ceil(move.secondsLeft)} s left`
  const error = move.error === null ? '' : `: ${move.error}`
  return `${move.from} to ${move.to}, ${move.state}, ${formatProgress(move)}${rate}${left}${error}`
}
