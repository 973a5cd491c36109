import type { HostView, VolumeView } from '../../../agent/api/contract.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'

/** A host that is well. */
export const HOST_VIEW: HostView = {
  id: 'a',
  name: 'h1',
  address: '10.0.0.1',
  self: true,
  alive: true,
  stale: false,
  lastSeen: '2026-01-02T03:04:05.678Z',
  version: '1.0.0',
  swarmNode: null,
  holds: 1,
  certificateEnds: null,
  uses: { ID: ['db'] },
  freeBytes: 40e9,
  totalBytes: 100e9,
  zone: 'east',
  draining: false,
  unwritable: null,
}

/** A volume in use on h1, whose copy on h2 is on its way. */
export function heldVolume(): VolumeView {
  const at = new Date(Date.now() - 3_000).toISOString()
  const last = { epoch: 4, seq: 17, hash: 'h', at, bytes: 1_500_000_000, files: 12 }
  const copy = { address: '10.0.0.1', epoch: 4, seq: 17, at, awaySince: null, why: null }
  return {
    name: 'data',
    id: 'ID',
    options: DEFAULT_OPTIONS,
    createdAt: at,
    mountpoint: '',
    stale: false,
    holder: { host: 'h1', address: '10.0.0.1', since: at, epoch: 4, containers: ['db'], away: null },
    epoch: 4,
    last,
    elsewhere: { epoch: 4, seq: 17, ageSeconds: 2 },
    seizure: { from: 'h3', by: 'h1', at, epoch: 3, seq: 9, ageSeconds: 7 },
    stuck: null,
    unwritable: null,
    checkpointing: null,
    fenced: [],
    diverged: [{ name: '3-1', epoch: 3, base: null, at, bytes: 2_000_000 }],
    namesakes: [],
    divergedElsewhere: [],
    copies: [
      { ...copy, host: 'h1', state: 'current' },
      { ...copy, host: 'h2', state: 'filling', why: 'being pulled from h1' },
    ],
    move: null,
  }
}
