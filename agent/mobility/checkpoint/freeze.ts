import type { VolumeUser } from '../../docker/contract.ts'
import { codeOf, WherryError } from '../../model/errors.ts'
import { rejectOnAbort } from '../../runtime/abort.ts'
import type { Capture, LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'

/** Docker's states of containers that have processes: they write, or would as soon as they are resumed. */
const LIVE_STATES = new Set(['running', 'paused'])

/** Tries to freeze containers in which commands keep being run. Then the checkpoint waits for its next turn. */
const MAX_TRIES = 5

/** A container that has ended has no freezer any more, and Docker lists it as running for a moment longer. */
const STILL_LISTED_MS = 1_000
const LISTED_POLL_MS = 100

/** When a tree was frozen. */
interface FreezeTime {
  /** On the clock's elapsedMs, and as ISO 8601. */
  readonly atMs: number
  readonly at: string
  /** How long containers were frozen; null: none had to be. */
  readonly pauseMs: number | null
}

/** A tree as it was at one moment. */
export interface FrozenCapture extends FreezeTime {
  readonly capture: Capture
}

/** The containers that mount a volume, by one reply of the engine. */
interface ContainerScan {
  readonly users: readonly VolumeUser[]
  /** When each one without a process had last stopped, by id; null: never. */
  readonly ends: ReadonlyMap<string, number | null>
  /** The newest mount of the volume: an object of its own. */
  readonly mount: unknown
}

type FreezeContext = Pick<Context, 'dependencies' | 'containerUses' | 'liveCaptures'>

/**
 * Freezes the containers of a volume, marks its tree, thaws them and captures the tree.
 * With consistency=live no container is frozen: the tree is captured as it is.
 * `inTurn` runs the freeze: it keeps those of other volumes away meanwhile.
 * On return containers run and the store is done with the tree, whatever happens. May be repeated after any error.
 * VOLUME_BUSY: it would have taken longer than the pause budget.
 * TREE_CHANGED: somebody else writes, a command was run in a container, or content could not be kept as it was.
 * FREEZER_UNREACHABLE, ENGINE_UNREACHABLE.
 */
export async function freezeAndCapture(
  context: FreezeContext,
  local: LocalCopy,
  inTurn: <T>(pause: () => Promise<T>) => Promise<T>,
  signal: AbortSignal,
): Promise<FrozenCapture> {
  const { store } = context.dependencies
  try {
    const time = await inTurn(() => freeze(context, local, signal))
    return { ...time, capture: await store.spoolLast(local.id, signal) }
  } catch (error) {
    await settled(store.spoolThaw(local.id))
    throw error
  }
}

/** On return the tree is frozen in the spool, and its containers run again. */
async function freeze(context: FreezeContext, local: LocalCopy, signal: AbortSignal): Promise<FreezeTime> {
  if (local.options.consistency === 'live') return await freezeTree(context, local, 'live', signal)
  const before = await scanContainers(context, local, signal)
  const live = before.users.filter(isLive)
  const time =
    live.length === 0
      ? await freezeTree(context, local, 'quiet', signal)
      : await freezeBetweenCommands(context, local, live, signal)
  const started = startedBetween(before, await scanContainers(context, local, signal))
  if (started === null) return time
  throw treeChanged(`${started} was started while a checkpoint of volume "${local.name}" was taken.`)
}

/** Freezes again a moment later when a command was run in one of the containers: a command must not wait. */
async function freezeBetweenCommands(
  context: FreezeContext,
  local: LocalCopy,
  containers: readonly VolumeUser[],
  signal: AbortSignal,
): Promise<FreezeTime> {
  for (let tries = 1; tries <= MAX_TRIES; tries++) {
    const time = await freezeContainers(context, local, containers, signal)
    if (time !== null) return time
    await context.dependencies.store.spoolThaw(local.id)
  }
  throw treeChanged(`Commands kept being run in the containers of volume "${local.name}" while a checkpoint was taken.`)
}

/** Null: a command was about to run in one of the containers, or Docker was about to pause or resume it. */
async function freezeContainers(
  context: FreezeContext,
  local: LocalCopy,
  containers: readonly VolumeUser[],
  signal: AbortSignal,
): Promise<FreezeTime | null> {
  const { store, freezes, pauseBudgetMs, tally } = context.dependencies
  // A capture for pre-seeding uses the tree: containers must not be frozen while it ends.
  await rejectOnAbort(context.liveCaptures.end(local.id), signal)
  const ids = containers.map(({ id }) => id)
  const frozen = await freezes.freeze(ids, pauseBudgetMs, signal).catch(async (error: unknown) => {
    if (codeOf(error) !== 'FREEZER_UNREACHABLE') throw error
    const ended = await findEnded(context, containers, signal)
    throw ended === null ? error : treeChanged(`${ended} ended while a checkpoint of volume "${local.name}" was taken.`)
  })
  void context.liveCaptures.end(local.id)
  const now = timeOf(context)
  const limit = AbortSignal.any([signal, frozen.cut])
  const freezing = store.spoolFreeze(local.id, 'quiet', limit)
  const failed = await rejectOnAbort(freezing, limit).then(
    () => null,
    (error: unknown) => ({ error }),
  )
  const { why, frozenMs } = await frozen.end()
  if (frozenMs !== null) tally.paused(local.name, frozenMs)
  await settled(freezing)
  signal.throwIfAborted()
  // A scan that took longer than the freeze may have seen several states of the tree.
  if (why === 'command') return null
  if (why === 'budget') throw overBudget(local.name, pauseBudgetMs)
  if (why !== null)
    throw treeChanged(`Not all containers of volume "${local.name}" stayed frozen for its checkpoint (${why}).`)
  if (failed !== null) throw failed.error
  return { ...now, pauseMs: Math.round(frozenMs ?? 0) }
}

/** Returns the name of one of these containers that has just ended; null: all of them run. */
async function findEnded(
  { containerUses, dependencies }: Pick<Context, 'containerUses' | 'dependencies'>,
  containers: readonly VolumeUser[],
  signal: AbortSignal,
): Promise<string | null> {
  const { clock } = dependencies
  const endMs = clock.elapsedMs() + STILL_LISTED_MS
  for (;;) {
    const live = (await rejectOnAbort(containerUses.refresh(), signal)).filter(isLive)
    const ended = containers.find(({ id }) => live.every((user) => user.id !== id))
    if (ended !== undefined) return ended.name
    if (clock.elapsedMs() >= endMs) return null
    await clock.sleep(LISTED_POLL_MS, signal)
    signal.throwIfAborted()
  }
}

/** Freezes the tree in the spool while no container is frozen. */
async function freezeTree(
  context: Pick<Context, 'dependencies'>,
  local: LocalCopy,
  kind: 'quiet' | 'live',
  signal: AbortSignal,
): Promise<FreezeTime> {
  const now = timeOf(context)
  await context.dependencies.store.spoolFreeze(local.id, kind, signal)
  return { ...now, pauseMs: null }
}

function timeOf({ dependencies }: Pick<Context, 'dependencies'>): Pick<FreezeTime, 'atMs' | 'at'> {
  const { clock } = dependencies
  return { atMs: clock.elapsedMs(), at: clock.now().toISOString() }
}

async function scanContainers(
  { containerUses }: Pick<Context, 'containerUses'>,
  { id, name }: LocalCopy,
  signal: AbortSignal,
): Promise<ContainerScan> {
  const mount = containerUses.newestMount(id)
  const users = (await rejectOnAbort(containerUses.refresh(), signal)).filter(({ volumes }) => volumes.includes(name))
  const ends = new Map<string, number | null>()
  for (const user of users.filter((user) => !isLive(user))) {
    ends.set(user.id, await rejectOnAbort(containerUses.endedMs(user), signal))
  }
  return { users, ends, mount }
}

/**
 * Returns the name of a container that may have run between two scans and did not at the first; null: none.
 * One that started and ended is recognized by when it last stopped, one that was created and removed by its mount.
 */
function startedBetween(before: ContainerScan, after: ContainerScan): string | null {
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

function treeChanged(message: string): WherryError {
  return new WherryError('TREE_CHANGED', message, { hint: 'The checkpoint is retried by itself.' })
}

/** The error of a pause that exceeded the budget, or would have. */
export function overBudget(volume: string, budgetMs: number): WherryError {
  return new WherryError(
    'VOLUME_BUSY',
    `A checkpoint of volume "${volume}" would have paused its containers for more than ${budgetMs} ms: none was taken.`,
    {
      hint:
        'It is retried by itself. Raise WHERRY_PAUSE_BUDGET, ' +
        'or create the volume with consistency=live if a fuzzy state will do.',
    },
  )
}
