import { setTimeout as sleep } from 'node:timers/promises'
import { knock } from '../agent/api/http.ts'

/** An engine that only restarts is back well before. A plugin that ends too early costs its callers a retry. */
const DEAD_FOR_MS = 15_000
const LOOK_EVERY_MS = 1_000

/**
 * Resolves when this plugin holds a dead engine socket while the engine is alive: only a restart of the plugin helps.
 * The manifest bind-mounts docker.sock, that is, its inode. With live-restore an engine's restart leaves plugins
 * running and makes a new socket file; the old inode then returns ECONNREFUSED for ever.
 * The engine is alive when it sends volume calls. A socket that never responded in this plugin's life is no reason to
 * restart: there is no Docker here (Podman), or it does not listen yet. Rejects when `signal` aborts.
 */
export async function engineSocketReplaced(options: {
  socketPath: string
  /** When the last volume call came, by performance.now(). */
  lastRequestMs: () => number
  /** Volume calls that are running; the plugin does not end in the middle of one. */
  running: () => number
  signal: AbortSignal
  deadForMs?: number
  lookEveryMs?: number
}): Promise<void> {
  const { socketPath, lastRequestMs, running, signal, deadForMs = DEAD_FOR_MS, lookEveryMs = LOOK_EVERY_MS } = options
  let servedOnce = false
  let deadSinceMs = Number.POSITIVE_INFINITY
  for (;;) {
    const found = await knock(socketPath)
    if (found === 'served') servedOnce = true
    deadSinceMs = found === 'dead' && servedOnce ? Math.min(deadSinceMs, performance.now()) : Number.POSITIVE_INFINITY
    const isLong = performance.now() - deadSinceMs >= deadForMs
    if (isLong && lastRequestMs() > deadSinceMs && running() === 0) return
    await sleep(lookEveryMs, undefined, { signal })
  }
}
