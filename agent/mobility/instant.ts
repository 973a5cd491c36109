import type { VolumeUser } from '../docker/contract.ts'
import { WherryError } from '../errors.ts'
import type { Capture, LocalCopy } from '../store/contract.ts'
import type { Core } from './core.ts'
import { untilAbort } from './until-abort.ts'

/** Between two tries to let containers go on: they stand still meanwhile. */
const RESUME_RETRY_MS = 200

/** When a tree was frozen. */
interface Moment {
  /** On the clock's elapsedMs, and as ISO 8601. */
  readonly atMs: number
  readonly at: string
  /** How long containers stood still; null: none had to. */
  readonly pauseMs: number | null
}

/** A tree as it was at one moment. */
export interface Instant extends Moment {
  readonly capture: Capture
}

/**
 * The last round of a checkpoint: of a tree that nobody writes to, because those containers that run stand still until it is frozen, or, with
 * consistency=live, as it is. Whatever happens, on return they run again and the store is done with the tree. VOLUME_BUSY: it would have
 * taken longer than the pause budget; TREE_CHANGED: somebody else writes, or something could not be kept as it was; ENGINE_UNREACHABLE. May be tried again after
 * any of them. `inTurn` keeps others from pausing meanwhile.
 */
export async function captureInstant(
  core: Core,
  local: LocalCopy,
  inTurn: <T>(pausing: () => Promise<T>) => Promise<T>,
  signal: AbortSignal,
): Promise<Instant> {
  const { store } = core.parts
  try {
    const moment = await inTurn(() => freeze(core, local, signal))
    return { ...moment, capture: await store.spoolLast(local.id, signal) }
  } catch (error) {
    await settled(store.spoolThaw(local.id))
    throw error
  }
}

/** On return the tree is frozen, and whoever stood still for it runs again. */
async function freeze(core: Core, local: LocalCopy, signal: AbortSignal): Promise<Moment> {
  if (local.options.consistency === 'live') return await freezeNow(core, local, 'live', signal)
  const containers = await running(core, local.name, signal)
  const moment =
    containers.length === 0
      ? await freezeNow(core, local, 'quiet', signal)
      : await freezePaused(core, local, containers, signal)
  const known = new Set(containers.map(({ id }) => id))
  const late = (await running(core, local.name, signal)).filter(({ id }) => !known.has(id))
  if (late.length === 0) return moment
  throw new WherryError(
    'TREE_CHANGED',
    `${late.map(({ name }) => name).join(', ')} was started while a checkpoint of volume "${local.name}" was taken.`,
    { hint: 'It is taken again by itself.' },
  )
}

async function freezePaused(
  core: Core,
  local: LocalCopy,
  containers: readonly VolumeUser[],
  signal: AbortSignal,
): Promise<Moment> {
  const { store, clock, pauses, pauseBudgetMs } = core.parts
  // A capture for sending ahead holds the tree: containers must not stand still while it ends.
  await untilAbort(core.liveCaptures.end(local.id), signal)
  const startMs = clock.elapsedMs()
  const limit = AbortSignal.any([signal, clock.deadline(pauseBudgetMs)])
  const wanted = containers.map(({ id }) => ({ container: id, volumes: [local.id], reason: 'checkpoint' as const }))
  const pausing = pauses.pause(wanted)
  let freezing: Promise<void> | null = null
  let paused = false
  let pauseMs: number | null = null
  try {
    await untilAbort(pausing, limit)
    paused = true
    void core.liveCaptures.end(local.id)
    const now = timeOf(core)
    freezing = store.spoolFreeze(local.id, 'quiet', limit)
    await untilAbort(freezing, limit)
    await resume(core, local.id)
    pauseMs = Math.round(clock.elapsedMs() - startMs)
    return { ...now, pauseMs }
  } catch (error) {
    if (signal.aborted || !limit.aborted) throw error
    throw overBudget(local, pauseBudgetMs)
  } finally {
    if (pauseMs === null) await resume(core, local.id)
    if (paused) core.parts.tally.paused(local.name, pauseMs ?? clock.elapsedMs() - startMs)
    // A call to the engine that comes back late may have paused after that.
    if (!paused) await settled(pausing).then(() => resume(core, local.id))
    if (freezing !== null) await settled(freezing)
  }
}

async function freezeNow(core: Core, local: LocalCopy, kind: 'quiet' | 'live', signal: AbortSignal): Promise<Moment> {
  const now = timeOf(core)
  await core.parts.store.spoolFreeze(local.id, kind, signal)
  return { ...now, pauseMs: null }
}

function timeOf(core: Core): Pick<Moment, 'atMs' | 'at'> {
  const { clock } = core.parts
  return { atMs: clock.elapsedMs(), at: clock.now().toISOString() }
}

/** Lets go on whatever stands still for a checkpoint of this volume; tries until it is so, or the agent ends (the next one does it then). */
async function resume(core: Core, volume: string): Promise<void> {
  const { pauses, clock, signal, log } = core.parts
  for (let tries = 1; ; tries++) {
    try {
      return await pauses.resume(({ reason, volumes }) => reason === 'checkpoint' && volumes.includes(volume))
    } catch (error) {
      if (tries === 1)
        log.error({ err: error, id: volume }, 'containers could not be resumed after a checkpoint; trying again')
      if (signal.aborted) return
    }
    await clock.sleep(RESUME_RETRY_MS, signal)
  }
}

async function running(core: Core, volume: string, signal: AbortSignal): Promise<VolumeUser[]> {
  const users = await untilAbort(core.uses.refresh(), signal)
  return users.filter(({ state, volumes }) => state === 'running' && volumes.includes(volume))
}

async function settled(promise: Promise<unknown>): Promise<void> {
  await promise.catch(() => undefined)
}

/** Of a pause that was too long, or would be. */
export function overBudget(local: LocalCopy, budgetMs: number): WherryError {
  return new WherryError(
    'VOLUME_BUSY',
    `The containers of volume "${local.name}" would have had to stand still for more than ${budgetMs} ms for a checkpoint; they run on without one.`,
    {
      hint: 'It is tried again later. Raise WHERRY_PAUSE_BUDGET, or create the volume with consistency=live if a fuzzy state will do.',
    },
  )
}
