import type { Dependencies } from '../../agent/mobility/dependencies.ts'
import { replaceMethods } from './replace-methods.ts'

/** Longer than a heartbeat. */
const MESSAGE_LATE_MS = 1_500

/** The watchdog is notified of a volume some time after it is held. */
export function tellLate(parts: Dependencies): Dependencies {
  const { watchdog, clock, signal } = parts
  const known = new Set<string>()
  const guard: typeof watchdog.guard = (word) => {
    for (const { id } of word.volumes) void clock.sleep(MESSAGE_LATE_MS, signal).then(() => known.add(id))
    watchdog.guard({ ...word, volumes: word.volumes.filter(({ id }) => known.has(id)) })
  }
  return { ...parts, watchdog: { ...watchdog, guard } }
}

/** An agent does not learn what the watchdog guarded before it. */
export function inheritNothing(parts: Dependencies): Dependencies {
  return { ...parts, watchdog: { ...parts.watchdog, inherited: async () => ({ untilMs: -Infinity, volumes: [] }) } }
}

/** An agent takes it that the lease before the outage still ran when that began. */
export function inheritLease(parts: Dependencies): Dependencies {
  const { watchdog } = parts
  const inherited = async () => ({ ...(await watchdog.inherited()), untilMs: Infinity })
  return { ...parts, watchdog: { ...watchdog, inherited } }
}

/** A removal checks who holds the volume, and not what else refers to it. */
export function askNoOther(parts: Dependencies): Dependencies {
  const { peers, engine } = parts
  const ask: typeof peers.ask = async (host, question, signal) =>
    question.kind === 'references'
      ? { host: host.address, containers: [], services: 'none' }
      : await peers.ask(host, question, signal)
  return { ...parts, peers: { ask }, engine: replaceMethods(engine, { services: async () => 'none' }) }
}

/** A host that is asked for its copy does not say that it holds the volume. */
export function countHeld(parts: Dependencies): Dependencies {
  const ask: typeof parts.peers.ask = async (host, question, signal) => {
    const answer = await parts.peers.ask(host, question, signal)
    return question.kind === 'copy' && answer !== null ? { ...(answer as object), held: false } : answer
  }
  return { ...parts, peers: { ask } }
}

/** After a checkpoint every paused container is resumed. */
export function resumeAll(parts: Dependencies): Dependencies {
  const { freezes, engine } = parts
  const freeze: typeof freezes.freeze = async (...args) => {
    const { cut, end } = await freezes.freeze(...args)
    const endAll = async () => {
      const ended = await end()
      for (const { id, state } of await engine.users()) if (state === 'paused') await engine.unpause(id)
      return ended
    }
    return { cut, end: endAll }
  }
  return { ...parts, freezes: replaceMethods(freezes, { freeze }) }
}

/** A holder that replies to `recover` says that it guards everything. */
export function guardAnyhow(parts: Dependencies): Dependencies {
  const ask: typeof parts.peers.ask = async (host, question, signal) => {
    const reply = await parts.peers.ask(host, question, signal)
    if (question.kind !== 'inventory') return reply
    const { copies } = reply as { copies: { id: string }[] }
    return { ...(reply as object), guarded: copies.map(({ id }) => id) }
  }
  return { ...parts, peers: { ask } }
}
