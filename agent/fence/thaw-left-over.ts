import type { Logger } from 'pino'
import type { Engine } from '../docker/contract.ts'
import type { Freezer, FreezerFiles } from './freezer.ts'
import type { FrozenNotes } from './frozen-notes.ts'
import type { WatchClock } from './watchdog.ts'

/** Containers stand still meanwhile, and an engine that starts answers late. */
const ENGINE_WAIT_MS = 1_000
/** Whatever keeps a container from being thawed, it may be gone by then. */
const RETRY_MS = 1_000
/** Under which it is noted what could not be thawed yet. */
const LEFT_OVER = 'left over'
/** Docker's states of containers that have processes. */
const LIVE_STATES = new Set(['running', 'paused', 'restarting'])

interface Options {
  readonly files: FreezerFiles
  readonly notes: FrozenNotes
  readonly freezer: Pick<Freezer, 'whileIdle'>
  readonly engine: Pick<Engine, 'users'>
  readonly clock: Pick<WatchClock, 'sleep'>
  readonly log: Logger
  readonly signal: AbortSignal
}

/**
 * Thaws what a process before this one has left frozen for a checkpoint, before anything else is frozen. What Docker
 * shows as paused stays so: an operator has paused it since. What cannot be thawed stays noted, and is tried again
 * until `signal` aborts. Resolves after the first try; never rejects.
 */
export async function thawLeftOver(options: Options): Promise<void> {
  const { notes, log } = options
  try {
    const containers = await notes.read()
    if (containers.length === 0) return
    log.warn({ containers }, 'thawing what was left frozen for a checkpoint')
    const left = await thawAll(options, containers)
    await notes.write(LEFT_OVER, left)
    if (left.length > 0) void thawLater(options, left)
  } catch (error) {
    log.error({ err: error }, 'what was left frozen for a checkpoint could not be looked for')
  }
}

async function thawLater(options: Options, containers: readonly string[]): Promise<void> {
  const { notes, freezer, clock, log, signal } = options
  let left = containers
  const again = async () => {
    const still = await thawAll({ ...options, isRetry: true }, left)
    if (still.length === left.length) return
    left = still
    await notes.write(LEFT_OVER, left)
  }
  while (left.length > 0) {
    await clock.sleep(RETRY_MS, signal)
    if (signal.aborted) return
    await freezer.whileIdle(again).catch((error: unknown) => {
      log.warn({ err: error }, 'the note of what was left frozen could not be changed')
    })
  }
  log.warn({ containers }, 'what was left frozen for a checkpoint runs now, or is gone')
}

/** Answers those that are still frozen, as far as anybody knows. */
async function thawAll(options: Options & { isRetry?: boolean }, containers: readonly string[]): Promise<string[]> {
  const { files, engine, clock, log, isRetry } = options
  const states = await containerStates(engine, clock)
  const left: string[] = []
  for (const container of containers) {
    const state = states?.get(container) ?? 'gone'
    if (state === 'paused') continue
    try {
      using file = await files.open(container)
      if (file.state() !== 'thawed') file.set(false)
    } catch (error) {
      // One that has ended since has no freezer.
      if (states !== null && !LIVE_STATES.has(state)) continue
      left.push(container)
      log[isRetry ? 'debug' : 'error'](
        { err: error, container },
        'a container that was left frozen for a checkpoint could not be thawed; trying again',
      )
    }
  }
  return left
}

/** By id; null: the engine does not say. */
async function containerStates(
  engine: Pick<Engine, 'users'>,
  clock: Pick<WatchClock, 'sleep'>,
): Promise<ReadonlyMap<string, string> | null> {
  const stop = new AbortController()
  const late = clock.sleep(ENGINE_WAIT_MS, stop.signal).then(() => null)
  const users = await Promise.race([engine.users().catch(() => null), late])
  stop.abort()
  return users === null ? null : new Map(users.map(({ id, state }) => [id, state]))
}
