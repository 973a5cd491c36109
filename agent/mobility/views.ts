import type { VolumeRecord } from '../model.ts'
import type { HostView, VolumeView } from './contract.ts'
import type { Core } from './core.ts'

/** One volume as people and Docker see it. */
export function viewVolume(core: Core, record: VolumeRecord, mounted: ReadonlySet<string>, stale: boolean): VolumeView {
  const { store, self } = core.parts
  const { id, name, options, createdAt, epoch, last, holder } = record
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
  }))
}

function hostName(core: Core, id: string): string {
  return core.hosts.get(id)?.name ?? id
}
