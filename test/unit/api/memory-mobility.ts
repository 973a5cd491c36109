import type { Health, Mobility } from '../../../agent/mobility/contract.ts'
import type { VolumeView } from '../../../agent/mobility/volume-view.ts'
import { WherryError } from '../../../agent/model/errors.ts'

/** The Mobility interface over a Map: volumes without data, enough to drive the API and the plugin. */
export interface MemoryMobility extends Mobility {
  readonly volumes: Map<string, VolumeView>
  /** "name/id" of each mount that counts now. */
  readonly mounts: Set<string>
  /** Every call so far, as "mount data m1 110000". */
  readonly calls: string[]
  /** Awaited at the start of every call: may throw, wait, or look at something. */
  before: (call: string) => Promise<void> | void
}

export const HEALTHY: Health = {
  ready: true,
  registry: { available: true, detail: 'embedded' },
  state: { writable: true, detail: '' },
  engine: { reachable: true, detail: 'ok' },
  lease: { secondsLeft: 7.5 },
  fenced: [],
  certificateEnds: null,
  notes: [],
  hostId: 'host-1',
  host: 'h1',
  version: '0.0.0',
}

export function createMemoryMobility(): MemoryMobility {
  const volumes = new Map<string, VolumeView>()
  const mounts = new Set<string>()
  const calls: string[] = []
  const begin = async (...call: (string | number)[]) => {
    calls.push(call.join(' '))
    await mobility.before(call.join(' '))
  }
  const find = (name: string): VolumeView => {
    const found = volumes.get(name)
    if (found !== undefined) return found
    throw new WherryError('VOLUME_NOT_FOUND', `There is no volume "${name}".`, { hint: 'Create it first.' })
  }
  const mobility: MemoryMobility = {
    volumes,
    mounts,
    calls,
    before: () => {},
    async create(name, options) {
      await begin('create', name, JSON.stringify(options))
      const found = volumes.get(name)
      if (found !== undefined && JSON.stringify(found.options) !== JSON.stringify(options)) {
        throw new WherryError('VOLUME_EXISTS', `Volume "${name}" exists with other options.`)
      }
      const view = found ?? newVolume(name, options)
      volumes.set(name, view)
      return view
    },
    async get(name) {
      await begin('get', name)
      return find(name)
    },
    async list() {
      await begin('list')
      return [...volumes.values()]
    },
    async remove(name) {
      await begin('remove', name)
      find(name)
      volumes.delete(name)
    },
    async removeWith(name, { force, acceptLoss }) {
      await begin('removeWith', name, String(force), String(acceptLoss))
      const { id } = find(name)
      volumes.delete(name)
      return { volume: name, id, references: force ? ['service web'] : [], lost: acceptLoss ? ['h3'] : [] }
    },
    async mount(name, mountId, deadlineMs) {
      await begin('mount', name, mountId, deadlineMs)
      const mountpoint = `/mnt/wherry/${find(name).id}`
      mounts.add(`${name}/${mountId}`)
      return { mountpoint }
    },
    async unmount(name, mountId) {
      await begin('unmount', name, mountId)
      mounts.delete(`${name}/${mountId}`)
    },
    async verify(name) {
      await begin('verify', name)
      const checkpoint = find(name).last ?? { epoch: 0, seq: 0 }
      const found = { filesChecked: 1, bytesRead: 2, damaged: [], damagedCount: 0 }
      return { volume: name, host: 'h1', checkpoint, ...found, repairing: false }
    },
    async promote(name, acceptLoss) {
      await begin('promote', name, String(acceptLoss))
      return { ...find(name), changed: acceptLoss, summary: `Volume "${name}" is as it is.` }
    },
    async drain(on) {
      await begin('drain', String(on))
      const left = on ? [...volumes.keys()].map((volume) => ({ volume, why: 'about to go' })) : []
      return { host: 'h1 (10.0.0.1)', draining: on, left }
    },
    async recover() {
      await begin('recover')
      return { written: [...volumes.keys()], kept: [], problems: [] }
    },
    async hosts() {
      await begin('hosts')
      return []
    },
    async moves() {
      await begin('moves')
      return []
    },
    async health() {
      await begin('health')
      return HEALTHY
    },
  }
  return mobility
}

function newVolume(name: string, options: VolumeView['options']): VolumeView {
  return {
    name,
    id: `id-of-${name}`,
    options,
    createdAt: '2026-01-02T03:04:05.678Z',
    mountpoint: '',
    stale: false,
    holder: null,
    epoch: 0,
    last: null,
    elsewhere: null,
    seizure: null,
    stuck: null,
    unwritable: null,
    checkpointing: null,
    fenced: [],
    diverged: [],
    divergedElsewhere: [],
    namesakes: [],
    copies: [],
    move: null,
  }
}
