import type { VolumeRecord } from '../../model/model.ts'
import { isNewest, mayBeNewest } from '../record/copies.ts'

/** A disk with a smaller free share gets no new copies: databases and checkpoints need room to grow. */
const FREE_SHARE = 0.1
/** A tenth of a huge disk is more than enough; no more than this is asked for. */
const MOST_FREE_BYTES = 20e9
/**
 * A copy on a disk with less than this part of it cannot take in new writes.
 * Another host gets one, if it can.
 */
const STUCK_PART = 0.5

/** What placement has to know of a host. */
export interface PlacementHost {
  readonly id: string
  readonly zone: string | null
  readonly draining: boolean
  /** Not heard of for longer than the grace time: others replace it. */
  readonly gone: boolean
  readonly freeBytes: number
  /** 0: unknown, and then it gets nothing new. */
  readonly totalBytes: number
  /** Of copies that are being made there and may not be on its disk yet. */
  readonly comingBytes: number
}

/**
 * How good a place a host is for a copy of a volume, best first; null: none.
 * A stuck copy is old, and better than nothing.
 */
type Standing = 'current' | 'behind' | 'filling' | 'new' | 'stuck' | null
const STANDINGS = ['current', 'behind', 'filling', 'new', 'stuck'] as const

/**
 * Returns the hosts that should have a copy, the holder first: as many as the volume's options say.
 * Good copies stay where they are. The rest is spread over zones, then goes where most space is free.
 * Pure, and the same for the same input on every host.
 */
export function placeCopies(record: VolumeRecord, hosts: readonly PlacementHost[]): readonly string[] {
  const chosen = hosts.filter((host) => host.id === record.holder?.host && !host.gone)
  for (const standing of STANDINGS) {
    let places = hosts.filter((host) => !chosen.includes(host) && standingOf(record, host) === standing)
    while (chosen.length < record.options.copies && places.length > 0) {
      const best = places.reduce((one, other) => (isBetter(record, other, one, chosen) ? other : one))
      chosen.push(best)
      places = places.filter((host) => host !== best)
    }
  }
  return chosen.map((host) => host.id)
}

/**
 * Whether a host may drop its copy, by the record alone.
 * It should not have one, and every host that should is alive and has the newest checkpoint. So it is never the
 * holder's copy, never the last and never the newest (promise 7).
 */
export function mayGiveUp(
  record: VolumeRecord,
  host: string,
  hosts: readonly PlacementHost[],
  alive: (id: string) => boolean,
): boolean {
  if (record.holder?.host === host || record.removedAt !== null) return false
  const wanted = placeCopies(record, hosts)
  if (wanted.length === 0 || wanted.includes(host)) return false
  return wanted.every((id) => isNewest(record, record.copies[id]) && alive(id))
}

function standingOf(record: VolumeRecord, host: PlacementHost): Standing {
  const copy = record.copies[host.id]
  if (host.gone || host.draining || copy?.state === 'diverged') return null
  const isFull = host.totalBytes > 0 && host.freeBytes < leastFreeBytes(host) * STUCK_PART
  // The newest checkpoint that any copy could take, as long as nothing newer is written.
  if (mayBeNewest(record, copy)) return isFull && record.holder !== null ? 'stuck' : 'current'
  // Pre-seeded data is no copy yet.
  if (copy === undefined || (copy.state === 'filling' && !copy.kept)) return hasRoom(record, host) ? 'new' : null
  if (copy.state === 'filling') return isFull ? null : 'filling'
  return isFull ? 'stuck' : 'behind'
}

function hasRoom(record: VolumeRecord, host: PlacementHost): boolean {
  const neededBytes = (record.last?.bytes ?? 0) + host.comingBytes
  return host.totalBytes > 0 && host.freeBytes - neededBytes >= leastFreeBytes(host)
}

function leastFreeBytes(host: PlacementHost): number {
  return Math.min(host.totalBytes * FREE_SHARE, MOST_FREE_BYTES)
}

/**
 * Whether one host is a better place than another. Free space changes all the time, so it decides on new copies only:
 * existing ones do not wander.
 */
function isBetter(
  record: VolumeRecord,
  host: PlacementHost,
  than: PlacementHost,
  chosen: readonly PlacementHost[],
): boolean {
  const rank = (one: PlacementHost): readonly number[] => {
    const copy = record.copies[one.id]
    const neighbours = chosen.filter((other) => one.zone !== null && other.zone === one.zone).length
    const isFull = one.freeBytes < leastFreeBytes(one)
    const isThere = copy !== undefined && (copy.state !== 'filling' || copy.kept)
    return [copy?.kept === true ? 0 : 1, neighbours, isFull ? 1 : 0, isThere ? 0 : -(one.freeBytes - one.comingBytes)]
  }
  const mine = rank(host)
  const theirs = rank(than)
  const differing = mine.findIndex((value, i) => value !== theirs[i])
  return differing === -1 ? host.id < than.id : (mine[differing] ?? 0) < (theirs[differing] ?? 0)
}
