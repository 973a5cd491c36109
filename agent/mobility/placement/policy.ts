import type { VolumeRecord } from '../../model/model.ts'
import { isNewest, mayBeNewest } from '../record/copies.ts'
import { HostIndex } from './host-index.ts'
import { hasSpace, isFull, leastFreeBytes, type PlacementHost } from './placement-host.ts'

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
  const index = HostIndex.of(hosts)
  const holder = index.get(record.holder?.host ?? '')
  const chosen = holder === undefined || holder.gone ? [] : [holder]
  const named = Object.keys(record.copies).flatMap((id) => index.get(id) ?? [])
  for (const standing of STANDINGS) {
    let places = named.filter((host) => !chosen.includes(host) && standingOf(record, host) === standing)
    const mayTake = (host: PlacementHost) =>
      record.copies[host.id] === undefined && !chosen.includes(host) && standingOf(record, host) === 'new'
    while (chosen.length < record.options.copies) {
      const other = standing === 'new' ? index.bestFor(mayTake, chosen) : null
      const candidates = other === null ? places : [...places, other]
      if (candidates.length === 0) break
      const best = candidates.reduce((one, two) => (isBetter(record, two, one, chosen) ? two : one))
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
  const isStuck = isFull(host)
  // The newest checkpoint that any copy could take, as long as nothing newer is written.
  if (mayBeNewest(record, copy)) return isStuck && record.holder !== null ? 'stuck' : 'current'
  // Pre-seeded data is no copy yet.
  if (copy === undefined || (copy.state === 'filling' && !copy.kept)) return hasRoom(record, host) ? 'new' : null
  if (copy.state === 'filling') return isStuck ? null : 'filling'
  return isStuck ? 'stuck' : 'behind'
}

function hasRoom(record: VolumeRecord, host: PlacementHost): boolean {
  const neededBytes = (record.last?.bytes ?? 0) + host.comingBytes
  return host.totalBytes > 0 && host.freeBytes - neededBytes >= leastFreeBytes(host)
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
    const hasLittle = one.totalBytes > 0 && !hasSpace(one)
    const isThere = copy !== undefined && (copy.state !== 'filling' || copy.kept)
    return [
      copy?.kept === true ? 0 : 1,
      neighbours,
      hasLittle ? 1 : 0,
      isThere ? 0 : -(one.freeBytes - one.comingBytes),
    ]
  }
  const mine = rank(host)
  const theirs = rank(than)
  const differing = mine.findIndex((value, i) => value !== theirs[i])
  return differing === -1 ? host.id < than.id : (mine[differing] ?? 0) < (theirs[differing] ?? 0)
}
