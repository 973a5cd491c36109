import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { EXIT_WRONG_SETTING } from '../agent/host/config.ts'
import { restartLoop } from '../agent/runtime/restart-loop.ts'

/**
 * Docker's calls wait for the agent, so the first restart is soon.
 * An agent that cannot start (port taken, disk full) is tried often enough to be back soon after the cause is gone.
 */
const WAITS = { firstMs: 100, lastMs: 5_000, steadyMs: 10_000 }
/** Docker kills a plugin 10 s after SIGTERM (moby, daemon/pkg/plugin/manager_linux.go, shutdownTimeout). */
const STOP_LIMIT_MS = 8_000

/** Notified of the agent's processes, one after another. */
export interface AgentWatch {
  /**
   * A process started.
   * `kill` sends it SIGKILL, and `say` a message; both have no effect once it has ended.
   */
  started(kill: () => void, say: (message: object) => void): void
  /** A message from its channel. */
  heard(message: unknown): void
  ended(): void
}

/**
 * Runs the agent as a child process, and starts it again whenever it ends (see `WAITS`).
 * When `signal` aborts, the agent gets SIGTERM, and SIGKILL after 8 s.
 * Returns the plugin's exit code: 0 after `signal`, 78 when the agent ended with 78 (a wrong setting, which a restart
 * would not mend). Output goes to the plugin's. However the plugin dies, the agent gets Node's `disconnect` event.
 */
export async function superviseAgent(options: {
  entry: string
  args: readonly string[]
  env: NodeJS.ProcessEnv
  log: Logger
  signal: AbortSignal
  stopLimitMs?: number
  watch?: AgentWatch
}): Promise<number> {
  const { log, signal } = options
  let end: End = { code: null }
  const run = async () => {
    end = await runOnce(options)
    return end.code !== EXIT_WRONG_SETTING
  }
  const ended = (againInMs: number) => log.error({ ...end, againInMs }, 'the agent ended; starting it again')
  await restartLoop({ run, ended, waits: WAITS, signal })
  return end.code === EXIT_WRONG_SETTING ? EXIT_WRONG_SETTING : 0
}

interface End {
  readonly code: number | null
  readonly killedBy?: string
  readonly err?: Error
}

async function runOnce(options: Parameters<typeof superviseAgent>[0]): Promise<End> {
  const { entry, args, env, log, signal, watch } = options
  const child = spawn(process.execPath, [entry, ...args], { env, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const ended = endOf(child)
  log.info({ pid: child.pid }, 'agent started')
  child.on('message', (message) => watch?.heard(message))
  const say = (message: object) => {
    // With a callback no error is thrown; the end of the process is reported elsewhere.
    if (child.connected) child.send(message, undefined, {}, () => {})
  }
  watch?.started(() => void child.kill('SIGKILL'), say)
  const stop = () => void stopChild(child, ended, options)
  signal.addEventListener('abort', stop, { once: true })
  if (signal.aborted) stop()
  const end = await ended
  watch?.ended()
  signal.removeEventListener('abort', stop)
  return end
}

async function endOf(child: ChildProcess): Promise<End> {
  try {
    const [code, killedBy] = (await once(child, 'exit')) as [number | null, string | null]
    return killedBy === null ? { code } : { code, killedBy }
  } catch (error) {
    return { code: null, err: error as Error }
  }
}

async function stopChild(
  child: ChildProcess,
  ended: Promise<End>,
  { log, stopLimitMs = STOP_LIMIT_MS }: { log: Logger; stopLimitMs?: number },
): Promise<void> {
  child.kill('SIGTERM')
  const stopped = await Promise.race([ended, sleep(stopLimitMs, 'late' as const, { ref: false })])
  if (stopped !== 'late') return
  log.warn({ stopLimitMs }, 'the agent did not end in time; killing it')
  child.kill('SIGKILL')
}
