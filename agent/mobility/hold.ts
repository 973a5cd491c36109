import { codeOf, WherryError } from '../errors.ts'
import type { VolumeRecord } from '../model.ts'
import type { LocalCopy } from '../store/contract.ts'
import { changeVolume, readVolume, STALE_READ } from './commit.ts'
import { isAt } from './copy-state.ts'
import type { Core } from './core.ts'
import { copyRunning, heldElsewhere, holdsNothing, notFound, registryBehind, treeTampered } from './refusals.ts'
import { releaseIfUnused } from './release.ts'

/** How often a waiting Mount looks again when no wake comes. */
const LOOK_MS = 300
/** A copy that a Mount asked for goes on this long after the Mount gave up, so that the next one joins it. */
export const WANTED_AFTER_MOUNT_MS = 10 * 60_000
/** Docker closes its side at the deadline: the answer has to be on its way before. */
const ANSWER_MARGIN_MS = 250

/**
 * Mounts a volume for one use (`mountId`). Waits for the holder's release and for the data until the deadline; what was
 * begun goes on after it. On return the hold is committed in the registry, the epoch synced to this disk, the tree
 * bind-mounted and the use written down. May be repeated; each call counts one use.
 */
export async function mountVolume(core: Core, name: string, mountId: string, deadlineMs: number): Promise<string> {
  const { parts } = core
  const limitMs = Math.max(deadlineMs - ANSWER_MARGIN_MS, deadlineMs / 2)
  const signal = AbortSignal.any([parts.signal, parts.clock.deadline(limitMs)])
  let refusal: Error | null = null
  while (!signal.aborted) {
    const step = await tryMount(core, name, mountId, deadlineMs, signal).catch((error: unknown) => {
      if (signal.aborted && refusal !== null && codeOf(error) === 'REGISTRY_UNAVAILABLE') return refusal
      throw error
    })
    if (typeof step === 'string') return step
    refusal = step
    await core.wakes.wait(name, (until) => parts.clock.sleep(LOOK_MS, until), signal)
  }
  throw (
    refusal ?? new WherryError('REGISTRY_UNAVAILABLE', `The registry did not answer about volume "${name}" in time.`)
  )
}

/** One look: the mountpoint, or the reason why not yet. Throws what waiting cannot mend. */
async function tryMount(
  core: Core,
  name: string,
  mountId: string,
  deadlineMs: number,
  signal: AbortSignal,
): Promise<string | WherryError> {
  const known = await mountConfirmed(core, name, mountId)
  if (known !== null) return known
  const record = (await readVolume(core.parts, name, signal))?.value
  if (record === undefined || record.removedAt !== null) throw notFound(name)
  if (record.holder !== null && record.holder.host !== core.parts.self.id) {
    core.copying.want(record, deadlineMs)
    return heldElsewhere(core, record)
  }
  const local = await core.parts.store.copy(record.id)
  if (record.holder === null && record.last !== null && !isAt(local, record.last) && (local?.held ?? null) === null) {
    const job = core.copying.want(record, deadlineMs + WANTED_AFTER_MOUNT_MS)
    return copyRunning(core, record, job)
  }
  return core.locks.run(record.id, () => holdAndMount(core, record, mountId, signal))
}

/** A further use of a volume that this host holds for certain asks nobody. */
async function mountConfirmed(core: Core, name: string, mountId: string): Promise<string | null> {
  for (const [id, hold] of core.confirmed) {
    if (hold.name !== name) continue
    return core.locks.run(id, async () => {
      const local = await core.parts.store.copy(id)
      if (local?.held == null || local.held.incarnation !== core.confirmed.get(id)?.incarnation) return null
      return attach(core, local, mountId)
    })
  }
  return null
}

/** Runs under the volume's lock, on a record that is idle or says that this host holds the volume. */
async function holdAndMount(
  core: Core,
  seen: VolumeRecord,
  mountId: string,
  signal: AbortSignal,
): Promise<string | WherryError> {
  const { store, log } = core.parts
  let local = await store.copy(seen.id)
  if (local === null) {
    if (seen.last !== null || seen.holder !== null) throw holdsNothing(core, seen)
    local = await store.create({ id: seen.id, name: seen.name, options: seen.options })
  }
  const held = local.held ?? (await intendHold(core, seen, local))
  if (held === null) return heldElsewhere(core, seen)
  const outcome = await commitHold(core, seen, held, signal)
  if (outcome instanceof WherryError) {
    await store.update(seen.id, { held: null })
    return outcome
  }
  local = await store.update(seen.id, { held: { ...held, epoch: outcome.epoch }, epochSeen: outcome.epoch })
  core.confirmed.set(seen.id, { name: seen.name, incarnation: held.incarnation })
  log.info({ volume: seen.name, id: seen.id, epoch: outcome.epoch }, 'held')
  try {
    const mountpoint = await attach(core, local, mountId)
    core.parts.bus.publish(`volume.${seen.id}.held`, {
      name: seen.name,
      host: core.parts.self.id,
      epoch: outcome.epoch,
    })
    return mountpoint
  } catch (error) {
    // Docker sends no Unmount for a Mount that failed: what was held for it must not stay held.
    void releaseIfUnused(core, seen.id)
    throw error
  }
}

/** Writes down, before asking the registry, under which incarnation this host is about to hold the volume. */
async function intendHold(core: Core, seen: VolumeRecord, local: LocalCopy): Promise<LocalCopy['held']> {
  const { store } = core.parts
  if (seen.holder !== null) return null
  if (local.epochSeen > seen.epoch) throw registryBehind(core, seen, local)
  if (seen.last !== null) {
    if (!isAt(local, seen.last)) return null
    const found = await store.capture(seen.id, 'quiet', core.parts.signal)
    if (found.hash !== seen.last.hash) throw treeTampered(core, seen)
  }
  const held = { epoch: seen.epoch + 1, incarnation: core.parts.newId() }
  await store.update(seen.id, { held })
  return held
}

/** The compare-and-set that makes this host the holder, or makes sure that it still is (promise 1: a write, never a read). */
async function commitHold(
  core: Core,
  seen: VolumeRecord,
  held: { epoch: number; incarnation: string },
  signal: AbortSignal,
): Promise<VolumeRecord | WherryError> {
  const { self, clock } = core.parts
  let refusal: WherryError | null = null
  const { entry } = await changeVolume(
    core.parts,
    seen.name,
    (record) => {
      refusal = null
      if (record === null || record.id !== seen.id || record.removedAt !== null) throw notFound(seen.name)
      if (record.epoch < seen.epoch) return STALE_READ
      // Written once more even if it is ours already: a read may be stale, an acknowledged write is not.
      if (record.holder?.incarnation === held.incarnation) return { ...record }
      if (record.holder !== null || record.epoch !== held.epoch - 1 || record.last?.hash !== seen.last?.hash) {
        refusal = heldElsewhere(core, record)
        return record
      }
      return {
        ...record,
        epoch: held.epoch,
        holder: { host: self.id, incarnation: held.incarnation, since: clock.now().toISOString() },
      }
    },
    signal,
  )
  if (refusal !== null) return refusal
  if (entry === null) throw notFound(seen.name)
  return entry.value
}

/** Mounts the tree and writes the use down, synced, before Docker hears of it. */
async function attach(core: Core, local: LocalCopy, mountId: string): Promise<string> {
  const { store } = core.parts
  core.uses.mounted(local.id)
  const mounts = { ...local.mounts, [mountId]: (local.mounts[mountId] ?? 0) + 1 }
  await store.update(local.id, { mounts })
  try {
    // Not mounted twice, and above all not made to wait for a capture that reads the tree.
    if ((await store.mounted()).has(local.id)) return store.mountpoint(local.id)
    return await store.mount(local.id)
  } catch (error) {
    await store.update(local.id, { mounts: local.mounts })
    throw error
  }
}
