import { randomUUID } from 'node:crypto'
import type { Logger } from 'pino'
import { WherryError } from '../model/errors.ts'
import type { Freeze, FreezeEnd, Freezes } from './contract.ts'
import type { FreezerFile, FreezerFiles } from './freezer.ts'
import { type AgentMessage, type IpcChannel, parsePluginMessage } from './watchdog-messages.ts'

/** Time beyond the budget that the plugin's process has to report the end, also on a machine under load. */
const LATE_MS = 250
/**
 * Time that the plugin's process has before it freezes: it waits for announced commands, searches for control groups
 * and writes a note to a disk that may be busy.
 */
const BEGIN_MS = 15_000
/**
 * A plugin's process that does not reply for so long is taken for stopped. Processes that open a freezer that it guards
 * wait for it.
 */
const SILENT_MS = 5_000

interface PendingFreeze {
  /** By container id. */
  readonly files: ReadonlyMap<string, FreezerFile>
  /** The containers that the plugin's process freezes. Those that somebody else has frozen are not thawed here. */
  frozen: readonly string[]
  readonly cut: AbortController
  readonly frozenOrEnded: PromiseWithResolvers<void>
  readonly ended: PromiseWithResolvers<FreezeEnd>
  readonly budgetMs: number
  readonly atMs: number
  timer: NodeJS.Timeout | null
}

/**
 * `Freezes` as a client of the plugin's process, over `channel`.
 * If that process does not reply in time, this one thaws the containers: each covers for the other when it is killed or
 * stopped.
 * `killPlugin` ends a plugin's process that stays silent, so that a new one is started.
 */
export function createFreezerClient(options: {
  channel: IpcChannel
  files: FreezerFiles
  killPlugin: () => void
  log: Logger
}): Freezes {
  const { channel, files, killPlugin, log } = options
  const pending = new Map<string, PendingFreeze>()
  /** The plugin's process does not reply. It may still guard freezers: processes that open one are blocked with it. */
  let isSilent = false

  const send = (message: AgentMessage) => {
    // With a callback, no error is thrown. A channel that breaks now emits `disconnect`.
    if (channel.connected === true) channel.send?.(message, undefined, {}, () => {})
  }
  const settle = (end: FreezeEnd) => {
    const one = pending.get(end.id)
    if (one === undefined) return
    pending.delete(end.id)
    if (one.timer !== null) clearTimeout(one.timer)
    for (const file of one.files.values()) file[Symbol.dispose]()
    one.ended.resolve(end)
    one.cut.abort(new Error(`containers are no longer frozen: ${end.why}`))
    one.frozenOrEnded.resolve()
  }
  const thawHere = (id: string) => {
    const one = pending.get(id)
    if (one === undefined) return
    isSilent = true
    log.error({ containers: one.frozen }, "plugin's process does not reply: thawing containers without it")
    for (const container of one.frozen) {
      try {
        one.files.get(container)?.set(false)
      } catch (err) {
        log.error({ err, container }, 'container not thawed')
      }
    }
    settle({ id, why: 'plugin', frozenMs: performance.now() - one.atMs })
    // A process that only waits for a disk, for example, replies to this at once.
    send({ kind: 'thaw', id })
    setTimeout(killIfSilent, SILENT_MS).unref()
  }
  const killIfSilent = () => {
    if (!isSilent || channel.connected !== true) return
    log.error("plugin's process still does not reply: killing it, so that it is restarted")
    killPlugin()
  }
  const thawBy = (id: string, ms: number) => {
    const one = pending.get(id)
    if (one === undefined) return
    if (one.timer !== null) clearTimeout(one.timer)
    // After this process itself was stopped, timers run before messages: an operator may have paused them since.
    one.timer = setTimeout(() => setImmediate(() => thawHere(id)), ms)
  }

  const begun = (id: string, containers: readonly string[]) => {
    const one = pending.get(id)
    if (one === undefined) return
    one.frozen = containers
    thawBy(id, one.budgetMs + LATE_MS)
  }

  channel.on('message', (message) => {
    const parsed = parsePluginMessage(message)
    if (parsed !== null) isSilent = false
    if (parsed?.kind === 'freezing') begun(parsed.id, parsed.containers)
    if (parsed?.kind === 'frozen') pending.get(parsed.id)?.frozenOrEnded.resolve()
    if (parsed?.kind === 'thawed') settle(parsed.end)
  })
  channel.on('disconnect', () => {
    for (const id of [...pending.keys()]) thawHere(id)
  })

  return {
    async freeze(containers, budgetMs, signal) {
      signal.throwIfAborted()
      if (channel.connected !== true || isSilent) throw pluginSilent()
      const id = randomUUID()
      const opened = await openAll(files, containers)
      const one: PendingFreeze = {
        files: new Map(opened.map((file, at) => [containers[at] ?? '', file])),
        frozen: [],
        budgetMs,
        cut: new AbortController(),
        frozenOrEnded: Promise.withResolvers(),
        ended: Promise.withResolvers(),
        atMs: performance.now(),
        timer: null,
      }
      pending.set(id, one)
      thawBy(id, BEGIN_MS + budgetMs)
      send({ kind: 'freeze', request: { id, containers, budgetMs } })
      const end = () => {
        send({ kind: 'thaw', id })
        return one.ended.promise
      }
      const stop = () => void end()
      signal.addEventListener('abort', stop, { once: true })
      await one.frozenOrEnded.promise
      signal.removeEventListener('abort', stop)
      if (signal.aborted) {
        await end()
        throw signal.reason
      }
      const early = pending.has(id) ? null : await one.ended.promise
      if (early?.why === 'failed') throw freezeFailed(early)
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

function pluginSilent(): WherryError {
  return new WherryError('FREEZER_UNREACHABLE', "Containers cannot be frozen: the plugin's process does not reply.", {
    hint: 'Checkpoints resume by themselves once it replies.',
  })
}

function freezeFailed({ error }: FreezeEnd): WherryError {
  const more = error?.hint === undefined ? {} : { hint: error.hint }
  return new WherryError('FREEZER_UNREACHABLE', error?.message ?? 'Containers could not be frozen.', more)
}
