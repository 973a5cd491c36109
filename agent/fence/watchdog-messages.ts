import { z } from 'zod'
import type { FreezeEnd, FreezeRequest, Guard, GuardedVolume, Watchdog } from './contract.ts'

/** How often the agent says that it is alive. The plugin takes it for stuck only after many are missing. */
const ALIVE_EVERY_MS = 1_000
/**
 * Messages that the kernel may hold for the plugin. With more, the plugin's process is stopped: when it resumes, it
 * gets the newest guard instead of a thousand old ones.
 */
const MAX_IN_FLIGHT = 8

const guardedSchema: z.ZodType<GuardedVolume[]> = z.array(
  z.object({ id: z.string(), name: z.string(), epoch: z.int() }),
)

export const guardSchema: z.ZodType<Guard> = z.object({ untilMs: z.number(), volumes: guardedSchema })

const NO_GUARD: Guard = { untilMs: Number.NEGATIVE_INFINITY, volumes: [] }

const freezeSchema: z.ZodType<FreezeRequest> = z.object({
  id: z.string(),
  containers: z.array(z.string()),
  budgetMs: z.number(),
})

/** What the agent sends to the plugin's process. */
const AGENT_MESSAGE = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('alive') }),
  z.object({ kind: z.literal('guard'), guard: guardSchema }),
  z.object({ kind: z.literal('freeze'), request: freezeSchema }),
  z.object({ kind: z.literal('thaw'), id: z.string() }),
])
export type AgentMessage = z.infer<typeof AGENT_MESSAGE>

const endSchema: z.ZodType<FreezeEnd> = z.object({
  id: z.string(),
  why: z.enum(['budget', 'command', 'changed', 'fence', 'agent', 'plugin', 'replaced', 'failed']).nullable(),
  frozenMs: z.number().nullable(),
  error: z.object({ message: z.string(), hint: z.string().optional() }).optional(),
})

/** What the plugin's process sends to the agent. */
const PLUGIN_MESSAGE = z.discriminatedUnion('kind', [
  /** Sent first: what the watchdog guards when the agent starts; null: nobody has told it. */
  z.object({ kind: z.literal('guarded'), guard: guardSchema.nullable() }),
  /** Sent before any of these containers is frozen. */
  z.object({ kind: z.literal('freezing'), id: z.string(), containers: z.array(z.string()) }),
  z.object({ kind: z.literal('frozen'), id: z.string() }),
  z.object({ kind: z.literal('thawed'), end: endSchema }),
])
export type PluginMessage = z.infer<typeof PLUGIN_MESSAGE>

/** Checks a message from the plugin's process; null for anything else. */
export function parsePluginMessage(message: unknown): PluginMessage | null {
  return PLUGIN_MESSAGE.safeParse(message).data ?? null
}

/** Checks a message from the agent; null for anything else. */
export function parseAgentMessage(message: unknown): AgentMessage | null {
  return AGENT_MESSAGE.safeParse(message).data ?? null
}

/** A child process's end of the channel to its parent: `process`, when it was spawned with 'ipc'. */
export interface IpcChannel {
  readonly connected?: boolean
  send?(message: unknown, handle: undefined, options: object, sent: (error: Error | null) => void): boolean
  on(event: 'message', listener: (message: unknown) => void): unknown
  on(event: 'disconnect', listener: () => void): unknown
}

/**
 * The watchdog in the plugin's process, as a client that sends messages over `channel`.
 * It also says once a second that this process is alive, whatever the lease does: create it early.
 * A guard arrives although this process is killed right after: Node hands each message to the kernel before `guard`
 * returns. That ends where the channel's socket is full: at some 2,300 guarded volumes (net.core.wmem_default).
 * Without a channel, or once it is closed, messages are dropped: a new plugin starts a new agent.
 */
export function createAgentWatchdog(channel: IpcChannel): Watchdog & Disposable {
  let inFlight = 0
  let next: AgentMessage | null = null
  const send = (message: AgentMessage) => {
    if (channel.connected !== true || channel.send === undefined) return
    if (inFlight === MAX_IN_FLIGHT) {
      if (message.kind === 'guard') next = message
      return
    }
    inFlight += 1
    // With a callback, no error is thrown. A channel that breaks now is closed for the next message.
    channel.send(message, undefined, {}, () => {
      inFlight -= 1
      const waiting = next
      next = null
      if (waiting !== null) send(waiting)
    })
  }
  const timer = setInterval(() => send({ kind: 'alive' }), ALIVE_EVERY_MS).unref()
  send({ kind: 'alive' })
  const inherited = Promise.withResolvers<Guard>()
  if (channel.connected !== true) inherited.resolve(NO_GUARD)
  channel.on('disconnect', () => inherited.resolve(NO_GUARD))
  channel.on('message', (message) => {
    const parsed = parsePluginMessage(message)
    if (parsed?.kind === 'guarded') inherited.resolve(parsed.guard ?? NO_GUARD)
  })
  return {
    guard: (guard) => send({ kind: 'guard', guard }),
    inherited: () => inherited.promise,
    [Symbol.dispose]: () => clearInterval(timer),
  }
}
