import { randomUUID } from 'node:crypto'
import type { Logger } from 'pino'
import { WherryError } from '../model/errors.ts'
import type { Freeze, FreezeEnd, Freezes } from './contract.ts'
import type { FreezerFile, FreezerFiles } from './freezer.ts'
import { parseReply, type Word } from './watchdog-messages.ts'

/** What the plugin's process needs beside the budget, to say so; a machine under load included. */
const LATE_MS = 250
/**
 * Before it freezes, the plugin's process waits for commands that were announced, looks for groups and writes a note to
 * a disk that may be busy.
 */
const BEGIN_MS = 15_000
/**
 * A process that says nothing for so long although it was asked is stopped. Whoever opens a freezer that it guards
 * waits for it.
 */
const SILENT_MS = 5_000

/** `process`, when it was spawned with 'ipc'. */
export interface FreezeChannel {
  readonly connected?: boolean
  send?(message: unknown, handle: undefined, options: object, sent: (error: Error | null) => void): boolean
  on(event: 'message', listener: (message: unknown) => void): unknown
  on(event: 'disconnect', listener: () => void): unknown
}

interface Asked {
  /** By container. */
  readonly files: ReadonlyMap<string, FreezerFile>
  /**
   * Those that the plugin's process has frozen, or is about to. What somebody else has frozen is not thawed from here
   * either.
   */
  frozen: readonly string[]
  readonly cut: AbortController
  readonly still: PromiseWithResolvers<void>
  readonly ended: PromiseWithResolvers<FreezeEnd>
  readonly budgetMs: number
  readonly atMs: number
  timer: NodeJS.Timeout | null
}

/**
 * `Freezes` by the plugin's process, spoken to over the channel of this one. If nothing is heard from there in time,
 * the containers are thawed from here: each process is there for when the other one is killed or stopped. `killPlugin`
 * ends a process that stays silent, so that a new one is started.
 */
export function createFreezerClient(options: {
  channel: FreezeChannel
  files: FreezerFiles
  killPlugin: () => void
  log: Logger
}): Freezes {
  const { channel, files, killPlugin, log } = options
  const asked = new Map<string, Asked>()
  /**
   * Its guard may stand: whoever opens a freezer then is held with all it does, as long as that process stands still.
   */
  let isSilent = false

  const say = (word: Word) => {
    // With a callback no error is thrown; a channel that breaks now says so by itself.
    if (channel.connected === true) channel.send?.(word, undefined, {}, () => {})
  }
  const settle = (end: FreezeEnd) => {
    const one = asked.get(end.id)
    if (one === undefined) return
    asked.delete(end.id)
    if (one.timer !== null) clearTimeout(one.timer)
    for (const file of one.files.values()) file[Symbol.dispose]()
    one.ended.resolve(end)
    one.cut.abort(new Error(`containers do not stand still any more: ${end.why}`))
    one.still.resolve()
  }
  const thawHere = (id: string) => {
    const one = asked.get(id)
    if (one === undefined) return
    isSilent = true
    log.error({ containers: one.frozen }, "the plugin's process says nothing: thawing containers without it")
    for (const container of one.frozen) {
      try {
        one.files.get(container)?.set(false)
      } catch (err) {
        log.error({ err, container }, 'a container could not be thawed')
      }
    }
    settle({ id, why: 'plugin', frozenMs: performance.now() - one.atMs })
    // One that waits for a disk, for example, answers that at once.
    say({ word: 'thaw', id })
    setTimeout(killIfSilent, SILENT_MS).unref()
  }
  const killIfSilent = () => {
    if (!isSilent || channel.connected !== true) return
    log.error("the plugin's process stays silent: killing it, to be started again")
    killPlugin()
  }
  const thawBy = (id: string, ms: number) => {
    const one = asked.get(id)
    if (one === undefined) return
    if (one.timer !== null) clearTimeout(one.timer)
    // Timers come before what has arrived when this process was stopped itself: an operator may have paused them since.
    one.timer = setTimeout(() => setImmediate(() => thawHere(id)), ms)
  }

  const begun = (id: string, containers: readonly string[]) => {
    const one = asked.get(id)
    if (one === undefined) return
    one.frozen = containers
    thawBy(id, one.budgetMs + LATE_MS)
  }

  channel.on('message', (message) => {
    const reply = parseReply(message)
    if (reply !== null) isSilent = false
    if (reply?.word === 'freezing') begun(reply.id, reply.containers)
    if (reply?.word === 'frozen') asked.get(reply.id)?.still.resolve()
    if (reply?.word === 'thawed') settle(reply.end)
  })
  channel.on('disconnect', () => {
    for (const id of [...asked.keys()]) thawHere(id)
  })

  return {
    async freeze(containers, budgetMs, signal) {
      signal.throwIfAborted()
      if (channel.connected !== true || isSilent) throw alone()
      const id = randomUUID()
      const opened = await openAll(files, containers)
      const one: Asked = {
        files: new Map(opened.map((file, at) => [containers[at] ?? '', file])),
        frozen: [],
        budgetMs,
        cut: new AbortController(),
        still: Promise.withResolvers(),
        ended: Promise.withResolvers(),
        atMs: performance.now(),
        timer: null,
      }
      asked.set(id, one)
      thawBy(id, BEGIN_MS + budgetMs)
      say({ word: 'freeze', request: { id, containers, budgetMs } })
      const end = () => {
        say({ word: 'thaw', id })
        return one.ended.promise
      }
      const stop = () => void end()
      signal.addEventListener('abort', stop, { once: true })
      await one.still.promise
      signal.removeEventListener('abort', stop)
      if (signal.aborted) {
        await end()
        throw signal.reason
      }
      const early = asked.has(id) ? null : await one.ended.promise
      if (early?.why === 'failed') throw failure(early)
      return { cut: one.cut.signal, end } satisfies Freeze
    },
  }
}

async function openAll(files: FreezerFiles, containers: readonly string[]): Promise<FreezerFile[]> {
  const opened: FreezerFile[] = []
  try {
    for (const container of containers) opened.push(await files.open(container))
    return opened
  } catch (error) {
    for (const file of opened) file[Symbol.dispose]()
    throw error
  }
}

function alone(): WherryError {
  return new WherryError('FREEZER_UNREACHABLE', "Containers cannot be frozen: the plugin's process says nothing.", {
    hint: 'It goes on by itself as soon as it does.',
  })
}

function failure({ error }: FreezeEnd): WherryError {
  const more = error?.hint === undefined ? {} : { hint: error.hint }
  return new WherryError('FREEZER_UNREACHABLE', error?.message ?? 'Containers could not be frozen.', more)
}
