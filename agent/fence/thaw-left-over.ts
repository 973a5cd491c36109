import type { Logger } from 'pino'
import type { Engine } from '../docker/contract.ts'
import type { FreezerFiles } from './freezer.ts'
import type { FrozenNotes } from './frozen-notes.ts'
import type { WatchClock } from './watchdog.ts'

/** Containers stand still meanwhile, and an engine that starts answers late. */
const ENGINE_WAIT_MS = 1_000

/**
 * Thaws what a process before this one has left frozen for a checkpoint, once, before anything else is frozen. What Docker shows as paused stays so: an operator has paused it since. Never rejects.
 */
export async function thawLeftOver(options: {
  files: FreezerFiles
  notes: FrozenNotes
  engine: Pick<Engine, 'users'>
  clock: Pick<WatchClock, 'sleep'>
  log: Logger
}): Promise<void> {
  const { files, notes, engine, clock, log } = options
  try {
    const left = await notes.read()
    if (left.length === 0) return
    log.warn({ containers: left }, 'thawing what was left frozen for a checkpoint')
    const paused = await pausedContainers(engine, clock)
    for (const container of left) if (!paused.has(container)) await thaw(files, container, log)
    await notes.clear()
  } catch (error) {
    log.error({ err: error }, 'what was left frozen for a checkpoint could not be looked for')
  }
}

async function thaw(files: FreezerFiles, container: string, log: Logger): Promise<void> {
  try {
    using file = await files.open(container)
    if (file.state() !== 'thawed') file.set(false)
  } catch (error) {
    // A container that has ended since has no freezer.
    log.warn({ err: error, container }, 'a container that was left frozen is not there any more')
  }
}

async function pausedContainers(
  engine: Pick<Engine, 'users'>,
  clock: Pick<WatchClock, 'sleep'>,
): Promise<ReadonlySet<string>> {
  const stop = new AbortController()
  const late = clock.sleep(ENGINE_WAIT_MS, stop.signal).then(() => [])
  const users = await Promise.race([engine.users().catch(() => []), late])
  stop.abort()
  return new Set(users.flatMap(({ id, state }) => (state === 'paused' ? [id] : [])))
}
