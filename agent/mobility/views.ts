import type { VolumeRecord } from '../model.ts'
import type { LocalCopy } from '../store/contract.ts'
import type { HostView, VolumeView } from './contract.ts'
import type { Core } from './core.ts'

/** What views need to know of this host's disk. */
export interface Disk {
  readonly mounted: ReadonlySet<string>
  /** By volume id. */
  readonly copies: ReadonlyMap<string, LocalCopy>
}

export async function lookAtDisk(core: Core): Promise<Disk> {
  const { store } = core.parts
  const { copies } = await store.copies()
  return { mounted: await store.mounted(), copies: new Map(copies.map((copy) => [copy.id, copy])) }
}

/** One volume as people and Docker see it. */
export function viewVolume(core: Core, record: VolumeRecord, { mounted, copies }: Disk, stale: boolean): VolumeView {
  const { store, self } = core.parts
  const { id, name, options, createdAt, epoch, last, holder } = record
  const local = copies.get(id)
  return {
    name,
    id,
    options,
    createdAt,
    mountpoint: mounted.has(id) ? store.mountpoint(id) : '',
    stale,
    holder:
      holder === null
        ? null
        : {
            host: hostName(core, holder.host),
            address: core.hosts.get(holder.host)?.address ?? '',
            since: holder.since,
            epoch,
            containers: holder.host === self.id ? core.uses.live(name) : core.hosts.containers(holder.host, id),
          },
    epoch,
    last,
    seizure: viewSeizure(core, record),
    checkpointing: local?.held == null ? null : core.checkpointing.view(id, options),
    diverged: local?.diverged ?? [],
    copies: Object.entries(record.copies).map(([host, copy]) => ({
      host: hostName(core, host),
      address: core.hosts.get(host)?.address ?? '',
      state: copy.state,
      epoch: copy.epoch,
      seq: copy.seq,
      at: copy.at,
    })),
    move: core.copying.job(id)?.view(core.hosts.label(self.id)) ?? null,
  }
}

function viewSeizure(core: Core, record: VolumeRecord): VolumeView['seizure'] {
  const seizure = record.seizures.at(-1)
  if (seizure === undefined) return null
  const { from, by, at, base, ageSeconds } = seizure
  return { from: hostName(core, from), by: hostName(core, by), at, epoch: base.epoch, seq: base.seq, ageSeconds }
}

/** All hosts whose heartbeat was ever read. */
export function viewHosts(core: Core): HostView[] {
  return core.hosts.all().map((host) => ({
    id: host.id,
    name: host.name,
    address: host.address,
    self: host.id === core.parts.self.id,
    alive: core.hosts.alive(host.id),
    lastSeen: host.at,
    swarmNode: host.swarmNode,
    uses: host.uses,
    freeBytes: host.freeBytes,
    totalBytes: host.totalBytes,
    zone: host.zone,
    draining: host.draining,
  }))
}

function hostName(core: Core, id: string): string {
  return core.hosts.get(id)?.name ?? id
}
