import type { Checkpoint, VolumeRecord } from '../model.ts'
import type { LocalCopy } from '../store/contract.ts'
import { changeVolume, STALE_READ } from './commit.ts'
import { reportDamaged } from './copy-record.ts'
import { isAt, withCopy, withoutCopy } from './copy-state.ts'
import type { Core } from './core.ts'
import { isNewest, mayGiveUp, type PlacementHost, placeCopies } from './placement.ts'
import { TELL_NODES_EVERY_MS } from './placement-node.ts'

/** A volume that moves back and forth keeps both its copies; one that has stayed this long is taken to stay. */
const SURPLUS_MS = 10 * 60_000
/** A volume that was just released is about to be held again somewhere: its data is not asked for before it has been quiet this long. */
const QUIET_MS = 15_000
/** Copies that are made here at the same time: more share the same disk and network, and none is done sooner. */
const MAX_FILLS = 2
/** A copy that could not be made is not tried again sooner. */
const FILL_AGAIN_MS = 30_000
/** Bound of one registry write; the next look tries again. */
const WRITE_MS = 5_000

/** What placement remembers from one look to the next; losing it costs time only. */
export interface PlacementMemory {
  readonly startedMs: number
  /** Since when a copy here is one too many, and what then told whether the volume has moved. */
  readonly surplus: Map<string, { holder: string | null; epoch: number; sinceMs: number }>
  /** Since when which checkpoint of an idle volume was seen. */
  readonly idle: Map<string, { hash: string; sinceMs: number }>
  /** When copies were last begun here. */
  readonly fills: Map<string, number>
}

export function createPlacementMemory(core: Pick<Core, 'parts'>): PlacementMemory {
  return { startedMs: core.parts.clock.elapsedMs(), surplus: new Map(), idle: new Map(), fills: new Map() }
}

/** The hosts as placement sees them now. */
export function placementHosts(core: Core, records: readonly VolumeRecord[]): PlacementHost[] {
  const { self, replaceAfterMs } = core.parts
  const coming = new Map<string, number>()
  for (const { copies, last } of records) {
    for (const [host, copy] of Object.entries(copies)) {
      if (copy.state === 'filling' && copy.kept) coming.set(host, (coming.get(host) ?? 0) + (last?.bytes ?? 0))
    }
  }
  return core.hosts.all().map(({ id, zone, draining, freeBytes, totalBytes }) => ({
    id,
    zone,
    draining: id === self.id ? isDraining(core) : draining,
    gone: core.hosts.silentMs(id) > replaceAfterMs,
    freeBytes,
    totalBytes,
    comingBytes: coming.get(id) ?? 0,
  }))
}

/** A person or Swarm wants this host's copies to leave. */
export function isDraining(core: Core): boolean {
  return core.parts.drainWish.get() || core.engine.drained
}

/**
 * Does this host's part of placing copies: takes a copy of every volume of which it should have one, gives up what is too many. Every host does the
 * same by the same records; each step is a compare-and-set that looks again, so that two hosts never both take or both give up the same copy.
 */
export async function keepPlaced(core: Core, memory: PlacementMemory): Promise<void> {
  const { cache, store, self } = core.parts
  // A host that was cut off would find all others gone, until it has heard of them again.
  if (!core.hosts.alive(self.id)) return
  const { entries, stale } = await cache.list()
  if (stale) return
  const records = entries.map(({ value }) => value).filter(({ removedAt }) => removedAt === null)
  const hosts = placementHosts(core, records)
  const locals = new Map((await store.copies()).copies.map((copy) => [copy.id, copy]))
  forget(memory, records)
  const failures: unknown[] = []
  for (const record of records) {
    const local = locals.get(record.id) ?? null
    // The registry has lost changes, or this was a stale read: nothing is decided on such a record.
    if (local !== null && local.epochSeen > record.epoch) continue
    if (record.holder?.host === self.id) memory.surplus.delete(record.id)
    else {
      const placing = placeCopies(record, hosts).includes(self.id) ? takeCopy : giveUpSurplus
      // One volume that cannot be placed must not keep the others from it.
      await placing(core, record, local, hosts, memory).catch((error: unknown) => failures.push(error))
    }
  }
  if (failures.length > 0) throw failures[0]
}

function forget(memory: PlacementMemory, records: readonly VolumeRecord[]): void {
  const ids = new Set(records.map(({ id }) => id))
  for (const map of [memory.surplus, memory.idle, memory.fills]) {
    for (const id of map.keys()) if (!ids.has(id)) map.delete(id)
  }
}

async function takeCopy(
  core: Core,
  record: VolumeRecord,
  local: LocalCopy | null,
  hosts: readonly PlacementHost[],
  memory: PlacementMemory,
): Promise<void> {
  const { parts } = core
  memory.surplus.delete(record.id)
  // Nobody has ever used it: there is nothing to have a copy of.
  if (record.holder === null && record.last === null) return
  const mine = record.copies[parts.self.id]
  if (mine?.state === 'current' && local === null) await reportDamaged(parts, record)
  if (mine?.kept !== true) {
    // Right after a start a drained host does not know yet that it is.
    const upMs = parts.clock.elapsedMs() - memory.startedMs
    if (core.engine.swarmNode !== null && upMs < TELL_NODES_EVERY_MS) return
    if (!(await joinRecord(core, record, local, hosts))) return
  }
  // While it is held, the holder's checkpoints bring the data.
  if (record.holder === null && record.last !== null) fill(core, record, record.last, local, memory)
}

/** Writes this host into the record as one that keeps a copy, unless somebody else took the place meanwhile. */
async function joinRecord(
  core: Core,
  seen: VolumeRecord,
  local: LocalCopy | null,
  hosts: readonly PlacementHost[],
): Promise<boolean> {
  const { self, clock, log } = core.parts
  const committed = local?.held === null && !local.applying ? local.checkpoint : null
  let joined = false
  const change = (record: VolumeRecord | null): VolumeRecord | null | typeof STALE_READ => {
    joined = false
    if (record === null || record.id !== seen.id || record.removedAt !== null) return record
    if (record.epoch < seen.epoch) return STALE_READ
    const mine = record.copies[self.id]
    joined = mine?.kept === true
    if (joined || !placeCopies(record, hosts).includes(self.id)) return record
    // A holder learns in its own write, and never later, that somebody could take over from it: a tree that it does not know of waits for that.
    if (mine === undefined && local !== null && local.checkpoint !== null && record.holder !== null) return record
    joined = true
    const at = clock.now().toISOString()
    if (mine !== undefined) return withCopy(record, self.id, { ...mine, kept: true })
    const known =
      committed === null
        ? { epoch: 0, seq: 0, state: 'filling' as const }
        : { ...toPoint(committed), state: 'behind' as const }
    return withCopy(record, self.id, { ...known, at, kept: true })
  }
  const { written } = await changeVolume(core.parts, seen.name, change, writeTime(core))
  if (written && seen.copies[self.id] === undefined) log.info({ volume: seen.name }, 'this host is to keep a copy')
  return joined
}

/** Starts the first copy of an idle volume; copies that were born catch up by themselves (copy-upkeep.ts). */
function fill(
  core: Core,
  record: VolumeRecord,
  last: Checkpoint,
  local: LocalCopy | null,
  memory: PlacementMemory,
): void {
  const { clock, self } = core.parts
  const nowMs = clock.elapsedMs()
  const quiet = memory.idle.get(record.id)
  if (quiet?.hash !== last.hash) memory.idle.set(record.id, { hash: last.hash, sinceMs: nowMs })
  if (quiet?.hash !== last.hash || nowMs - quiet.sinceMs < QUIET_MS) return
  if ((local?.checkpoint ?? null) !== null || isAt(local, last) || core.copying.job(record.id) !== undefined) return
  if (nowMs - (memory.fills.get(record.id) ?? Number.NEGATIVE_INFINITY) < FILL_AGAIN_MS) return
  const running = [...memory.fills.keys()].filter((id) => core.copying.job(id) !== undefined)
  if (running.length >= MAX_FILLS) return
  const sources = Object.entries(record.copies).filter(([host, copy]) => host !== self.id && isNewest(record, copy))
  if (!sources.some(([host]) => core.hosts.alive(host))) return
  memory.fills.set(record.id, nowMs)
  core.copying.want(record, 0)
}

async function giveUpSurplus(
  core: Core,
  record: VolumeRecord,
  local: LocalCopy | null,
  hosts: readonly PlacementHost[],
  memory: PlacementMemory,
): Promise<void> {
  const { clock, self } = core.parts
  const mine = record.copies[self.id]
  memory.idle.delete(record.id)
  if (mine === undefined && (local?.checkpoint ?? null) !== null && record.holder === null) {
    // Given up once, and killed before it was put away: the record must know of it before it may go.
    await rejoinRecord(core, record, local)
  }
  if (mine === undefined || mine.state === 'diverged' || (mine.state === 'filling' && !mine.kept)) return
  if (whyBusy(core, record.name, local) !== null) {
    memory.surplus.delete(record.id)
    return
  }
  // Among copies that are equally good those that are kept stay, so a copy that the volume has left must not be one.
  if (mine.kept && mine.state !== 'filling') await unkeep(core, record, hosts)
  const sinceMs = noteSurplus(memory, record, clock.elapsedMs())
  if (isDraining(core) || clock.elapsedMs() - sinceMs >= SURPLUS_MS) await dropCopy(core, record, hosts)
}

/** Since when the copy has been one too many and the volume has not moved. A hold that was too short to be seen may have been anywhere. */
function noteSurplus(memory: PlacementMemory, { id, holder, epoch }: VolumeRecord, nowMs: number): number {
  const before = memory.surplus.get(id)
  const host = holder?.host ?? (before?.epoch === epoch ? before.holder : null)
  const moved = before === undefined || (holder === null ? before.epoch !== epoch : before.holder !== host)
  const sinceMs = moved ? nowMs : before.sinceMs
  memory.surplus.set(id, { holder: host, epoch, sinceMs })
  return sinceMs
}

async function unkeep(core: Core, seen: VolumeRecord, hosts: readonly PlacementHost[]): Promise<void> {
  const { self } = core.parts
  const change = (record: VolumeRecord | null): VolumeRecord | null | typeof STALE_READ => {
    if (record === null || record.id !== seen.id) return record
    if (record.epoch < seen.epoch) return STALE_READ
    const mine = record.copies[self.id]
    if (mine === undefined || !mine.kept || mine.state === 'filling') return record
    return placeCopies(record, hosts).includes(self.id) ? record : withCopy(record, self.id, { ...mine, kept: false })
  }
  await changeVolume(core.parts, seen.name, change, writeTime(core))
}

/** Why a copy cannot go now, whatever the record says; null: it can. */
export function whyBusy(core: Core, name: string, local: LocalCopy | null): string | null {
  if (core.pendingMounts.has(name)) return 'a container that is being started waits for it'
  if (local === null) return null
  if (local.diverged.length > 0)
    return `writes that the cluster never got are kept beside it (volumes/${local.id}/diverged)`
  if (local.held !== null || Object.keys(local.mounts).length > 0) return 'it is in use here'
  if (local.applying || core.copying.job(local.id) !== undefined) return 'it is being written to'
  return null
}

/** Takes this host's copy off the record and moves it to the trash, under the volume's lock, so that no Mount comes in between. */
async function dropCopy(core: Core, record: VolumeRecord, hosts: readonly PlacementHost[]): Promise<void> {
  const { store, log } = core.parts
  await core.locks.run(record.id, async () => {
    const local = await store.copy(record.id)
    if (whyBusy(core, record.name, local) !== null || (await store.mounted()).has(record.id)) return
    if (!(await leaveRecord(core, record, local, hosts)) || local === null) return
    if (local.checkpoint === null) await store.dropStage(record.id)
    await store.trash(record.id)
    log.info({ volume: record.name, id: record.id }, 'a copy that was one too many was moved to the trash')
  })
}

/** True when this host's entry is off the record by a write of this call, which looked whether enough others are current. */
async function leaveRecord(
  core: Core,
  seen: VolumeRecord,
  local: LocalCopy | null,
  hosts: readonly PlacementHost[],
): Promise<boolean> {
  const { self } = core.parts
  let tried = false
  let left = false
  const change = (record: VolumeRecord | null): VolumeRecord | null | typeof STALE_READ => {
    left = false
    if (record === null || record.id !== seen.id) return record
    if (record.epoch < seen.epoch) return STALE_READ
    const mine = record.copies[self.id]
    if (mine === undefined) {
      // Only after a write of ours whose answer was lost; a read alone may be older than the entry.
      left = tried
      return record
    }
    const checkpoint = local?.checkpoint ?? null
    const isEmpty = checkpoint === null && mine.state === 'filling' && record.holder?.host !== self.id
    const mayGo = isEmpty
      ? !placeCopies(record, hosts).includes(self.id)
      : mayGiveUp(record, self.id, hosts, (id) => core.hosts.alive(id)) && !isAbove(checkpoint, record)
    if (!mayGo) return record
    tried = true
    left = true
    return withoutCopy(record, self.id)
  }
  await changeVolume(core.parts, seen.name, change, writeTime(core))
  return left
}

async function rejoinRecord(core: Core, seen: VolumeRecord, local: LocalCopy | null): Promise<void> {
  const { self, clock } = core.parts
  const checkpoint = local?.checkpoint ?? null
  if (checkpoint === null || local === null || whyBusy(core, seen.name, local) !== null) return
  const change = (record: VolumeRecord | null): VolumeRecord | null => {
    if (record === null || record.id !== seen.id || record.removedAt !== null) return record
    if (record.holder !== null || record.copies[self.id] !== undefined) return record
    const at = clock.now().toISOString()
    return withCopy(record, self.id, { ...toPoint(checkpoint), state: 'behind', at, kept: true })
  }
  await changeVolume(core.parts, seen.name, change, writeTime(core))
}

/** Newer than all the cluster has: whatever the reason, it is not for housekeeping to judge. */
function isAbove(checkpoint: Checkpoint | null, { last }: VolumeRecord): boolean {
  if (checkpoint === null) return false
  if (last === null) return true
  return checkpoint.epoch > last.epoch || (checkpoint.epoch === last.epoch && checkpoint.seq > last.seq)
}

function toPoint({ epoch, seq }: Checkpoint): { epoch: number; seq: number } {
  return { epoch, seq }
}

function writeTime(core: Core): AbortSignal {
  const { signal, clock } = core.parts
  return AbortSignal.any([signal, clock.deadline(WRITE_MS)])
}
