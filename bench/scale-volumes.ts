import type { VolumeRecord } from '../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../agent/model/volume-options.ts'
import { hashOf } from '../test/fake/memory-store.ts'

const AT = '2026-01-01T00:00:00.000Z'

export function hostName(nth: number): string {
  return `host-${String(nth).padStart(4, '0')}`
}

/** Returns the two hosts that have copies of a volume. */
export function copyHosts(volume: number, hosts: number): readonly number[] {
  return [volume % hosts, (volume + 1 + Math.floor(volume / hosts)) % hosts]
}

/** Returns the record of an idle volume with two current copies. */
export function idleRecord(nth: number, hosts: number): VolumeRecord {
  const name = `volume-${String(nth).padStart(7, '0')}`
  const checkpoint = { epoch: 1, seq: 1, hash: hashOf(name) }
  const copy = { epoch: 1, seq: 1, checkpoint, state: 'current' as const, at: AT, kept: true }
  return {
    id: `id-of-${name}`,
    name,
    options: { ...DEFAULT_OPTIONS, copies: 2 },
    createdAt: AT,
    epoch: 1,
    holder: null,
    last: { ...checkpoint, at: AT, bytes: 1, files: 1 },
    seizures: [],
    copies: Object.fromEntries(copyHosts(nth, hosts).map((host) => [hostName(host), copy])),
    removedAt: null,
  }
}
