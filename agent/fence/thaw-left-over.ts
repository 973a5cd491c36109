import type { Logger } from 'pino'
import type { Engine } from '../docker/contract.ts'
import type { Freezer, FreezerFiles } from './freezer.ts'
import type { FrozenNotes } from './frozen-notes.ts'
import type { WatchClock } from './watchdog.ts'

/** How long to wait for the engine, which replies late while it starts: the containers are frozen meanwhile. */
const ENGINE_WAIT_MS = 1_000
/** How long to wait before the next try to thaw. */
const RETRY_MS = 1_000
/** The note of the containers that are not thawed yet. */
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
 * Thaws the containers that an earlier process left frozen for a checkpoint.
 * Call it before anything else is frozen. Resolves after the first try; never rejects.
 * A container that Docker shows as paused stays frozen: an operator has paused it since.
 * A container that cannot be thawed stays noted, and is retried until `signal` aborts.
 */
export async function thawLeftOver(options: Options): Promise<void> {
  const { notes, log } = options
  try {
    const containers = await notes.read()
    if (containers.length === 0) return
    log.warn({ containers }, 'thawing containers that were left frozen for a checkpoint')
    const left = await thawAll(options, containers)
    await notes.write(LEFT_OVER, left)
    if (left.length > 0) void thawLater(options, left)
  } catch (error) {
    log.error({ err: error }, 'check for containers left frozen for a checkpoint failed')
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
      log.warn({ err: error }, 'note of containers left frozen not updated')
    })
  }
  log.info({ containers }, 'containers left frozen for a checkpoint run now, or are gone')
}

/** Thaws containers, and returns those that may still be frozen. */
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
      // A container that has ended since has no freezer.
      if (states !== null && !LIVE_STATES.has(state)) continue
      left.push(container)
      log[isRetry ? 'debug' : 'error'](
        { err: error, container },
        'container left frozen for a checkpoint not thawed: retrying',
      )
    }
  }
  return left
}

/** The states of all containers, by id; null: the engine does not reply. */
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
