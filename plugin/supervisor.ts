import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { restartLoop } from '../agent/runtime/restart-loop.ts'
import type { AgentExit, LastWords } from './last-words.ts'

/**
 * Docker's calls wait for the agent, so the first restart is soon.
 * An agent that cannot start (port taken, disk full) is tried often enough to be back soon after the cause is gone.
 */
const WAITS = { firstMs: 100, lastMs: 5_000, steadyMs: 10_000 }
/** Docker kills a plugin 10 s after SIGTERM (moby, daemon/pkg/plugin/manager_linux.go, shutdownTimeout). */
const STOP_LIMIT_MS = 8_000
/** Time for the last words to arrive once the process has ended. */
const WORDS_LIMIT_MS = 500

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
 * Returns after that. An agent that finds a wrong setting is restarted too: this process stays, to say why to Docker.
 * Its log goes to the plugin's output; `lastWords` gets its standard error. However the plugin dies, the agent gets
 * Node's `disconnect` event.
 */
export async function superviseAgent(options: {
  entry: string
  args: readonly string[]
  env: NodeJS.ProcessEnv
  log: Logger
  lastWords: LastWords
  signal: AbortSignal
  stopLimitMs?: number
  watch?: AgentWatch
}): Promise<void> {
  const { lastWords, signal } = options
  let last: Awaited<ReturnType<typeof runOnce>> | null = null
  const run = async () => {
    last = await runOnce(options)
    return true
  }
  const ended = (againInMs: number) => {
    if (last !== null) void lastWords.note(last.end, last.words, againInMs)
  }
  await lastWords.forget()
  await restartLoop({ run, ended, waits: WAITS, signal })
  await lastWords.forget()
}

async function runOnce(
  options: Parameters<typeof superviseAgent>[0],
): Promise<{ readonly end: AgentExit; readonly words: string }> {
  const { entry, args, env, log, lastWords, signal, watch } = options
  const child = spawn(process.execPath, [entry, ...args], { env, stdio: ['ignore', 'inherit', 'pipe', 'ipc'] })
  // Not its end: a process that the agent left behind may have its standard error too.
  const words = lastWords.listen(child.stderr as Readable)
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
  const said = await Promise.race([words, sleep(WORDS_LIMIT_MS, '', { ref: false })])
  watch?.ended()
  signal.removeEventListener('abort', stop)
  return { end, words: said }
}

async function endOf(child: ChildProcess): Promise<AgentExit> {
  try {
    const [code, killedBy] = (await once(child, 'exit')) as [number | null, string | null]
    return killedBy === null ? { code } : { code, killedBy }
  } catch (error) {
    return { code: null, err: error as Error }
  }
}

async function stopChild(
  child: ChildProcess,
  ended: Promise<AgentExit>,
  { log, stopLimitMs = STOP_LIMIT_MS }: { log: Logger; stopLimitMs?: number },
): Promise<void> {
  child.kill('SIGTERM')
  const stopped = await Promise.race([ended, sleep(stopLimitMs, 'late' as const, { ref: false })])
  if (stopped !== 'late') return
  log.warn({ stopLimitMs }, 'agent did not end in time: killing it')
  child.kill('SIGKILL')
}
