import { z } from 'zod'
import type { FreezeEnd, FreezeRequest, Guard, GuardedVolume, Watchdog } from './contract.ts'

/** A sign of life is due this often; the watchdog waits for many of them before it takes an agent for stuck. */
const ALIVE_EVERY_MS = 1_000
/** Words that are handed to the kernel and not taken yet. Beyond that the plugin stands still: it gets the newest word when it goes on, not a thousand old ones. */
const MOST_UNDER_WAY = 8

const guardedSchema: z.ZodType<GuardedVolume[]> = z.array(
  z.object({ id: z.string(), name: z.string(), epoch: z.int() }),
)

export const guardSchema: z.ZodType<Guard> = z.object({ untilMs: z.number(), volumes: guardedSchema })

const freezeSchema: z.ZodType<FreezeRequest> = z.object({
  id: z.string(),
  containers: z.array(z.string()),
  budgetMs: z.number(),
})

/** What the agent says to the plugin's process over their channel. */
const WORD = z.discriminatedUnion('word', [
  z.object({ word: z.literal('alive') }),
  z.object({ word: z.literal('guard'), guard: guardSchema }),
  z.object({ word: z.literal('freeze'), request: freezeSchema }),
  z.object({ word: z.literal('thaw'), id: z.string() }),
])
export type Word = z.infer<typeof WORD>

const endSchema: z.ZodType<FreezeEnd> = z.object({
  id: z.string(),
  why: z.enum(['budget', 'command', 'changed', 'fence', 'agent', 'plugin', 'replaced', 'failed']).nullable(),
  frozenMs: z.number().nullable(),
  error: z.object({ message: z.string(), hint: z.string().optional() }).optional(),
})

/** What the plugin's process says to the agent. */
const REPLY = z.discriminatedUnion('word', [
  /** Said first: what the watchdog guards as the agent starts. */
  z.object({ word: z.literal('guarded'), volumes: guardedSchema }),
  /** Said before any of these is told to stand still. */
  z.object({ word: z.literal('freezing'), id: z.string(), containers: z.array(z.string()) }),
  z.object({ word: z.literal('frozen'), id: z.string() }),
  z.object({ word: z.literal('thawed'), end: endSchema }),
])
export type Reply = z.infer<typeof REPLY>

/** A message of the plugin's process; null for anything else. */
export function parseReply(message: unknown): Reply | null {
  return REPLY.safeParse(message).data ?? null
}

/** A message of the channel; null for anything else that may come there. */
export function parseWatchdogMessage(message: unknown): Word | null {
  return WORD.safeParse(message).data ?? null
}

/** The end of the channel that a child process has: `process`, when it was spawned with 'ipc'. */
export interface Channel {
  readonly connected?: boolean
  send?(message: unknown, handle: undefined, options: object, sent: (error: Error | null) => void): boolean
  on(event: 'message', listener: (message: unknown) => void): unknown
  on(event: 'disconnect', listener: () => void): unknown
}

/**
 * The watchdog in the plugin's process, spoken to over the channel of this one. It also says once a second that this process is alive, whatever becomes of the
 * lease: make it early. A word is the kernel's before `guard` returns (Node writes a message at once), so it arrives although this process dies then. Without a channel, or once that is closed, words are dropped: then the plugin is gone and a new one starts a new agent.
 */
export function createAgentWatchdog(channel: Channel): Watchdog & Disposable {
  let underWay = 0
  let next: Word | null = null
  const send = (word: Word) => {
    if (channel.connected !== true || channel.send === undefined) return
    if (underWay === MOST_UNDER_WAY) {
      if (word.word === 'guard') next = word
      return
    }
    underWay += 1
    // With a callback no error is thrown; a channel that breaks now is closed for the next word.
    channel.send(word, undefined, {}, () => {
      underWay -= 1
      const waiting = next
      next = null
      if (waiting !== null) send(waiting)
    })
  }
  const timer = setInterval(() => send({ word: 'alive' }), ALIVE_EVERY_MS).unref()
  send({ word: 'alive' })
  const inherited = Promise.withResolvers<readonly GuardedVolume[]>()
  if (channel.connected !== true) inherited.resolve([])
  channel.on('disconnect', () => inherited.resolve([]))
  channel.on('message', (message) => {
    const reply = parseReply(message)
    if (reply?.word === 'guarded') inherited.resolve(reply.volumes)
  })
  return {
    guard: (guard) => send({ word: 'guard', guard }),
    inherited: () => inherited.promise,
    [Symbol.dispose]: () => clearInterval(timer),
  }
}
