import type { VolumeUser } from '../../docker/contract.ts'
import { codeOf, WherryError } from '../../model/errors.ts'
import { rejectOnAbort } from '../../runtime/abort.ts'
import type { Capture, LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'

/** Docker's states of containers that have processes: they write, or would as soon as somebody lets them go on. */
const LIVE_STATES = new Set(['running', 'paused'])

/**
 * Commands that follow each other in a container keep a checkpoint from being taken this often; then it waits for its
 * next turn.
 */
const MOST_TRIES = 5

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

/** All containers that mount a volume, and when each one that has no process had last stopped. */
interface Census {
  readonly users: readonly VolumeUser[]
  readonly ends: ReadonlyMap<string, number | null>
  /** The newest mount of the volume, as an object of its own. */
  readonly mount: unknown
}

/**
 * The last round of a checkpoint: of a tree that nobody writes to, because those containers that run stand still until it is frozen, or, with
 * consistency=live, as it is. Whatever happens, on return they run again and the store is done with the tree. VOLUME_BUSY: it would have
 * taken longer than the pause budget; TREE_CHANGED: somebody else writes, a command was run in a container, or
 * something could not be kept as it was; FREEZER_UNREACHABLE, ENGINE_UNREACHABLE. May be tried again after any of them.
 * `inTurn` keeps others from pausing meanwhile.
 */
export async function freezeAndCapture(
  core: Context,
  local: LocalCopy,
  inTurn: <T>(pausing: () => Promise<T>) => Promise<T>,
  signal: AbortSignal,
): Promise<Instant> {
  const { store } = core.dependencies
  try {
    const moment = await inTurn(() => freeze(core, local, signal))
    return { ...moment, capture: await store.spoolLast(local.id, signal) }
  } catch (error) {
    await settled(store.spoolThaw(local.id))
    throw error
  }
}

/** On return the tree is frozen, and whoever stood still for it runs again. */
async function freeze(core: Context, local: LocalCopy, signal: AbortSignal): Promise<Moment> {
  if (local.options.consistency === 'live') return await freezeNow(core, local, 'live', signal)
  const before = await census(core, local, signal)
  const live = before.users.filter(isLive)
  const moment =
    live.length === 0 ? await freezeNow(core, local, 'quiet', signal) : await freezeBetween(core, local, live, signal)
  const started = startedBetween(before, await census(core, local, signal))
  if (started === null) return moment
  throw tryAgain(`${started} was started while a checkpoint of volume "${local.name}" was taken.`)
}

/** Again a moment later when a command was run in one of the containers: that must not wait. */
async function freezeBetween(
  core: Context,
  local: LocalCopy,
  containers: readonly VolumeUser[],
  signal: AbortSignal,
): Promise<Moment> {
  for (let tries = 1; tries <= MOST_TRIES; tries++) {
    const moment = await freezeStill(core, local, containers, signal)
    if (moment !== null) return moment
    await core.dependencies.store.spoolThaw(local.id)
  }
  throw tryAgain(`Commands were run in containers of volume "${local.name}" whenever a checkpoint was to be taken.`)
}

/** Null: a command was to be run in one of the containers, or Docker to pause it or to let it go on. */
async function freezeStill(
  core: Context,
  local: LocalCopy,
  containers: readonly VolumeUser[],
  signal: AbortSignal,
): Promise<Moment | null> {
  const { store, freezes, pauseBudgetMs, tally } = core.dependencies
  // A capture for sending ahead holds the tree: containers must not stand still while it ends.
  await rejectOnAbort(core.liveCaptures.end(local.id), signal)
  const ids = containers.map(({ id }) => id)
  const still = await freezes.freeze(ids, pauseBudgetMs, signal).catch(async (error: unknown) => {
    if (codeOf(error) !== 'FREEZER_UNREACHABLE') throw error
    // A container that has ended meanwhile has no freezer: nothing is wrong with those of the others.
    const live = new Set((await rejectOnAbort(core.containerUses.refresh(), signal)).filter(isLive).map(({ id }) => id))
    const ended = containers.find(({ id }) => !live.has(id))
    throw ended === undefined ? error : tryAgain(`${ended.name} ended when a checkpoint was to be taken.`)
  })
  void core.liveCaptures.end(local.id)
  const now = timeOf(core)
  const limit = AbortSignal.any([signal, still.cut])
  const freezing = store.spoolFreeze(local.id, 'quiet', limit)
  const failed = await rejectOnAbort(freezing, limit).then(
    () => null,
    (error: unknown) => ({ error }),
  )
  const { why, frozenMs } = await still.end()
  if (frozenMs !== null) tally.paused(local.name, frozenMs)
  await settled(freezing)
  signal.throwIfAborted()
  // A tree that was looked at for longer than its containers stood still may be of several moments.
  if (why === 'command') return null
  if (why === 'budget') throw overBudget(local, pauseBudgetMs)
  if (why !== null) throw tryAgain(`Not all containers of volume "${local.name}" stood still to the end (${why}).`)
  if (failed !== null) throw failed.error
  return { ...now, pauseMs: Math.round(frozenMs ?? 0) }
}

async function freezeNow(
  core: Context,
  local: LocalCopy,
  kind: 'quiet' | 'live',
  signal: AbortSignal,
): Promise<Moment> {
  const now = timeOf(core)
  await core.dependencies.store.spoolFreeze(local.id, kind, signal)
  return { ...now, pauseMs: null }
}

function timeOf(core: Context): Pick<Moment, 'atMs' | 'at'> {
  const { clock } = core.dependencies
  return { atMs: clock.elapsedMs(), at: clock.now().toISOString() }
}

async function census(core: Context, { id, name }: LocalCopy, signal: AbortSignal): Promise<Census> {
  const { containerUses, dependencies } = core
  const mount = containerUses.newestMount(id)
  const users = (await rejectOnAbort(containerUses.refresh(), signal)).filter(({ volumes }) => volumes.includes(name))
  const ends = new Map<string, number | null>()
  for (const { id: container } of users.filter((user) => !isLive(user))) {
    const end = await rejectOnAbort(dependencies.engine.finishedAt(container), signal)
    ends.set(container, end?.getTime() ?? null)
  }
  return { users, ends, mount }
}

/**
 * Whoever may have run between two censuses and did not at the first; null: nobody. One that came and went is told by
 * when it last stopped; one that was made and removed meanwhile by its mount.
 */
function startedBetween(before: Census, after: Census): string | null {
  const ran = new Set(before.users.filter(isLive).map(({ id }) => id))
  const late = after.users.find((user) => isLive(user) && !ran.has(user.id))
  if (late !== undefined) return late.name
  for (const { id, name } of before.users) {
    if (ran.has(id)) continue
    if (!after.ends.has(id) || after.ends.get(id) !== before.ends.get(id)) return name
  }
  return before.mount === after.mount ? null : 'a container'
}

function isLive({ state }: VolumeUser): boolean {
  return LIVE_STATES.has(state)
}

async function settled(promise: Promise<unknown>): Promise<void> {
  await promise.catch(() => undefined)
}

function tryAgain(what: string): WherryError {
  return new WherryError('TREE_CHANGED', what, { hint: 'It is taken again by itself.' })
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
