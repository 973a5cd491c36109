import type { Pause } from '../../fence/contract.ts'
import type { Trouble, VolumeRecord } from '../../model/model.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import type { HostView } from '../contract.ts'
import { hasOtherPeers, isGone } from '../lease/peer-lists.ts'
import { stuckAt } from '../own-host.ts'
import { orderOf } from '../record/checkpoint-order.ts'
import { hasCheckpoint } from '../record/copies.ts'
import { viewPredecessor } from '../recovery/predecessor.ts'
import type { VolumeView } from '../volume-view.ts'
import { explainCopy } from './explain-copy.ts'

/** What the view of a volume is made of. */
export type ViewContext = Pick<
  Context,
  | 'dependencies'
  | 'hosts'
  | 'copyManager'
  | 'checkpointScheduler'
  | 'containerUses'
  | 'namesakes'
  | 'releaseTroubles'
  | 'volumeTroubles'
  | 'stateDisk'
  | 'node'
  | 'refusedTombstones'
>

/** What views need to know of this host's disk. */
export interface DiskState {
  readonly mounted: ReadonlySet<string>
  /** By volume id. */
  readonly copies: ReadonlyMap<string, LocalCopy>
  readonly pauses: readonly Pause[]
}

/** Reads what views need of this disk. */
export async function readDisk(
  context: Pick<Context, 'dependencies'>,
  copies: readonly LocalCopy[],
): Promise<DiskState> {
  const { store, pauses } = context.dependencies
  const byId = new Map(copies.map((copy) => [copy.id, copy]))
  return { mounted: await store.mounted(), copies: byId, pauses: await pauses.all() }
}

/** Returns one volume as operators and Docker see it. */
export function viewVolume(context: ViewContext, record: VolumeRecord, disk: DiskState, stale: boolean): VolumeView {
  const { store, self } = context.dependencies
  const { mounted, copies } = disk
  const { id, name, options, createdAt, epoch, last, holder } = record
  const local = copies.get(id) ?? null
  return {
    name,
    id,
    options,
    createdAt,
    mountpoint: mounted.has(id) ? store.mountpoint(id) : '',
    stale,
    ...(stale ? { staleSince: context.hosts.readAt } : {}),
    ...(isUnsure(context, record) ? { hostsUnknown: true as const } : {}),
    holder:
      holder === null
        ? null
        : {
            host: hostName(context, holder.host),
            address: context.hosts.get(holder.host)?.address ?? '',
            since: holder.since,
            epoch,
            containers:
              holder.host === self.id ? context.containerUses.live(name) : context.hosts.containers(holder.host, id),
            away: holder.host === self.id || !context.hosts.knowsAway ? null : context.hosts.describeAway(holder.host),
          },
    epoch,
    last,
    elsewhere: viewElsewhere(context, record),
    seizure: viewSeizure(context, record),
    predecessor: viewPredecessor(context, record),
    stuck: onHolder(context, record, (id) => stuckAt(context, id, record)),
    late: onHolder(context, record, (id) => lateAt(context, id, record)),
    unwritable: onHolder(context, record, (id) => unwritableAt(context, id)),
    checkpointing: local === null || local.held === null ? null : context.checkpointScheduler.view(id, options),
    fenced: viewFenced(context, record, disk),
    diverged: local?.diverged ?? [],
    divergedElsewhere: viewDivergedElsewhere(context, id),
    namesakes: viewNamesakes(context, name),
    copies: Object.entries(record.copies).map(([host, copy]) => ({
      host: hostName(context, host),
      address: context.hosts.get(host)?.address ?? '',
      state: copy.state,
      epoch: copy.epoch,
      seq: copy.seq,
      at: copy.at,
      awaySince: host === self.id ? null : context.hosts.awaySince(host, copy.at),
      why: explainCopy(context, record, host, local),
    })),
    move: context.copyManager.job(id)?.view(context.hosts.label(self.id)) ?? null,
  }
}

/** Whether some host of the volume may be alive or away, for all this host knows. */
function isUnsure(context: Pick<Context, 'dependencies' | 'hosts'>, { holder, copies }: VolumeRecord): boolean {
  const hosts = [...(holder === null ? [] : [holder.host]), ...Object.keys(copies)]
  return hosts.some((host) => host !== context.dependencies.self.id && isUnheard(context, host))
}

function isUnheard({ hosts }: Pick<Context, 'hosts'>, host: string): boolean {
  return !hosts.knowsAway && !hosts.alive(host)
}

/** What is known of the holder, with its name. */
function onHolder(
  context: Pick<Context, 'hosts'>,
  { holder }: VolumeRecord,
  find: (host: string) => Trouble | null,
): VolumeView['stuck'] {
  const found = holder === null ? null : find(holder.host)
  if (holder === null || found === null) return null
  const { code, text, since } = found
  return { host: hostName(context, holder.host), code, text, since }
}

/** Returns why a host cannot write its state directory, by this host's own probe or by its heartbeat. */
function unwritableAt(context: Pick<Context, 'dependencies' | 'hosts' | 'stateDisk'>, host: string): Trouble | null {
  return host === context.dependencies.self.id
    ? context.stateDisk.trouble
    : (context.hosts.get(host)?.unwritable ?? null)
}

/** Returns why the holder's checkpoints are late on other hosts, by this host itself or by the holder's heartbeat. */
function lateAt(
  context: Pick<Context, 'dependencies' | 'hosts' | 'checkpointScheduler'>,
  host: string,
  { id }: Pick<VolumeRecord, 'id'>,
): Trouble | null {
  return host === context.dependencies.self.id
    ? context.checkpointScheduler.trouble(id)
    : (context.hosts.get(host)?.late?.[id] ?? null)
}

function viewSeizure(context: Pick<Context, 'hosts'>, record: VolumeRecord): VolumeView['seizure'] {
  const seizure = record.seizures.at(-1)
  if (seizure === undefined) return null
  const { from, by, at, base, ageSeconds } = seizure
  return { from: hostName(context, from), by: hostName(context, by), at, epoch: base.epoch, seq: base.seq, ageSeconds }
}

/**
 * Returns what another host could take over with.
 * Its age does not assume that two hosts' clocks agree.
 */
function viewElsewhere(
  context: Pick<Context, 'dependencies' | 'hosts' | 'checkpointScheduler'>,
  record: VolumeRecord,
): VolumeView['elsewhere'] {
  const { id, holder, last, copies } = record
  if (holder === null || last === null) return null
  const { epoch, seq } = last
  const { self } = context.dependencies
  const isSelf = holder.host === self.id
  const mayLive = (host: string) => host === self.id || context.hosts.alive(host) || isUnheard(context, host)
  const lives = (host: string) => host !== holder.host && mayLive(host)
  const isElsewhere = Object.entries(copies).some(([host, copy]) => lives(host) && hasCheckpoint(copy, last))
  const heartbeat = context.hosts.get(holder.host)
  const covered = isSelf ? context.checkpointScheduler.covered(id) : heartbeat?.covered[id]
  const nowMs = context.dependencies.clock.now().getTime()
  // Between a checkpoint of an earlier epoch and this hold nothing was written.
  const sinceAt = epoch < record.epoch ? holder.since : last.at
  const order = covered == null ? 'older' : orderOf(covered, last)
  if (covered == null || (order !== 'same' && order !== 'newer'))
    return isElsewhere ? { epoch, seq, ageSeconds: ageSeconds(nowMs, sinceAt) } : null
  // While the registry is away no heartbeats come, and hosts reply to the holder all the same.
  if (!isSelf && !isElsewhere) return null
  // By the holder's last heartbeat, and its age.
  const saidMs = heartbeat === undefined ? nowMs : Date.parse(heartbeat.at) + context.hosts.silentMs(holder.host)
  return { epoch: covered.epoch, seq: covered.seq, ageSeconds: ageSeconds(isSelf ? nowMs : saidMs, covered.at) }
}

function ageSeconds(nowMs: number, at: string): number {
  return Math.max(0, Math.round((nowMs - Date.parse(at)) / 100) / 10)
}

function viewFenced(
  context: Pick<Context, 'containerUses'>,
  { id, name }: VolumeRecord,
  { pauses }: DiskState,
): string[] {
  const names = new Map(context.containerUses.liveContainers(name).map((user) => [user.id, user.name]))
  return pauses.filter(({ volumes }) => volumes.includes(id)).map(({ container }) => names.get(container) ?? container)
}

function viewDivergedElsewhere(
  context: Pick<Context, 'dependencies' | 'hosts'>,
  id: string,
): VolumeView['divergedElsewhere'] {
  return context.hosts
    .all()
    .filter((host) => host.id !== context.dependencies.self.id && (host.diverged[id] ?? 0) > 0)
    .map((host) => ({ host: hostName(context, host.id), trees: host.diverged[id] ?? 0 }))
}

/** This host's own are newer than its heartbeat. */
function viewNamesakes(
  context: Pick<Context, 'dependencies' | 'hosts' | 'namesakes' | 'node'>,
  name: string,
): string[] {
  const { id } = context.dependencies.self
  const others = context.hosts.all().filter((host) => host.id !== id && host.namesakes.includes(name))
  return [
    ...(context.namesakes.names.includes(name) ? [context.node.name] : []),
    ...others.map((host) => hostName(context, host.id)),
  ]
}

/** All hosts whose heartbeat was ever read; before the first one, those that an earlier agent has heard of. */
export function viewHosts(context: Pick<Context, 'dependencies' | 'hosts' | 'stateDisk'>): HostView[] {
  const { hosts, dependencies } = context
  const unheard = hosts.unheard.map(({ id, name, address }) => ({
    id,
    name,
    address,
    self: id === dependencies.self.id,
    alive: false,
    stale: true,
    staleSince: hosts.readAt,
    unwritable: unwritableAt(context, id),
    lastSeen: '',
    version: null,
    certificateEnds: null,
    swarmNode: null,
    holds: 0,
    uses: {},
    freeBytes: 0,
    totalBytes: 0,
    zone: null,
    draining: false,
  }))
  const heard = hosts.all().map((host) => ({
    id: host.id,
    name: hostName(context, host.id),
    address: host.address,
    self: host.id === context.dependencies.self.id,
    alive: context.hosts.alive(host.id),
    stale: context.hosts.stale,
    ...(context.hosts.stale ? { staleSince: context.hosts.readAt } : {}),
    ...(host.id !== context.dependencies.self.id && isUnheard(context, host.id) ? { unknown: true as const } : {}),
    unwritable: unwritableAt(context, host.id),
    lastSeen: host.at,
    version: host.version ?? null,
    certificateEnds: host.certificateEnds ?? null,
    swarmNode: host.swarmNode,
    holds: host.holds ?? Object.keys(host.uses).length,
    uses: host.uses,
    freeBytes: host.freeBytes,
    totalBytes: host.totalBytes,
    zone: host.zone,
    draining: host.draining,
    ...(hasOtherPeers(context, host) ? { otherPeers: true as const } : {}),
    ...(isGone(context, host) ? { gone: true as const } : {}),
  }))
  return [...heard, ...unheard]
}

function hostName(context: Pick<Context, 'hosts'>, id: string): string {
  return context.hosts.nameOf(id)
}
