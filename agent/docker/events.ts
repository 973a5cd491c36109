import { setTimeout as sleep } from 'node:timers/promises'
import Docker from 'dockerode'
import type { Logger } from 'pino'
import type { EngineEvent } from './contract.ts'

/** An engine that restarts is away for seconds, so more frequent attempts gain nothing. */
const RECONNECT_MS = 1_000
/** An event is well below 1 kB. A longer line is no event. */
const MAX_EVENT_BYTES = 1 << 20

const KINDS: Exclude<EngineEvent['kind'], 'daemon'>[] = ['container', 'node', 'service', 'volume']

/**
 * Follows the engine's events until `signal` aborts, and reconnects.
 * Sends a `daemon` event after each connect: events were missed, so the listener should check everything.
 */
export function watchEvents(
  engine: { socketPath: string; log: Logger },
  handler: (event: EngineEvent) => void,
  signal: AbortSignal,
): void {
  void (async () => {
    while (!signal.aborted) {
      try {
        await followOnce(engine.socketPath, handler, signal)
      } catch (error) {
        if (!signal.aborted) engine.log.debug({ err: error }, 'engine event stream lost')
      }
      await sleep(RECONNECT_MS, undefined, { signal }).catch(() => undefined)
    }
  })()
}

async function followOnce(
  socketPath: string,
  handler: (event: EngineEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  const options: Docker.GetEventsOptions = { filters: { type: KINDS }, abortSignal: signal }
  const stream = await new Docker({ socketPath }).getEvents(options)
  handler({ kind: 'daemon', action: 'connect', id: '', name: '' })
  let rest = ''
  for await (const chunk of stream) {
    rest += String(chunk)
    const lines = rest.split('\n')
    rest = lines.pop() ?? ''
    if (rest.length > MAX_EVENT_BYTES) throw new Error('an event of the engine is longer than a megabyte')
    for (const line of lines) {
      const event = parseEvent(line)
      if (event !== null) handler(event)
    }
  }
}

/** Parses one line of the stream; null: not an event of interest. */
function parseEvent(line: string): EngineEvent | null {
  if (line.trim() === '') return null
  let raw: unknown
  try {
    raw = JSON.parse(line)
  } catch {
    return null
  }
  if (typeof raw !== 'object' || raw === null) return null
  const { Type, Action, Actor } = raw as {
    Type?: unknown
    Action?: unknown
    Actor?: { ID?: unknown; Attributes?: Record<string, unknown> }
  }
  const kind = KINDS.find((known) => known === Type)
  if (kind === undefined || typeof Action !== 'string') return null
  const name = Actor?.Attributes?.name
  return {
    kind,
    action: Action,
    id: typeof Actor?.ID === 'string' ? Actor.ID : '',
    name: typeof name === 'string' ? name : '',
  }
}
