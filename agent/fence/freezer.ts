import type { Logger } from 'pino'
import { codeOf, WherryError } from '../model/errors.ts'
import { errnoOf } from '../sys/failure.ts'
import type { FreezeEnd, FreezeRequest } from './contract.ts'
import type { FrozenNotes } from './frozen-notes.ts'
import type { WatchClock } from './watchdog.ts'

/**
 * A process that opened a freezer just before it was guarded has written to it by then, also on a busy machine.
 * The containers still run meanwhile, and a process that opens a freezer ends the freeze.
 */
const SETTLE_MS = 10
const POLL_MS = 1
/** Polls without a delay: freezing takes a fraction of a millisecond. */
const QUICK_POLLS = 50
/** A command that was announced has run by then, or waits for its container. */
const ANNOUNCED_MS = 1_000
/** Time from the event that says so until runc reads the freezer. */
const STARTED_MS = 150
/** A write to a freezer does not fail. If one does, the containers stay frozen until the next try. */
const THAW_RETRY_MS = 50

/** `freezing`: it was told to freeze, and some of its processes still run. */
export type FreezerState = 'thawed' | 'freezing' | 'frozen' | 'gone'

/** The kernel's freezer of one container, held open. Calls take microseconds and do not wait. */
export interface FreezerFile extends Disposable {
  readonly path: string
  state(): FreezerState
  /** Freezes or thaws. No error for a container that is gone. */
  set(frozen: boolean): void
}

export interface FreezerFiles {
  /** Rejects FREEZER_UNREACHABLE. */
  open(container: string): Promise<FreezerFile>
  /** Forgets where the freezers of all other containers are. */
  forget(containers: readonly string[]): void
  /**
   * Blocks processes that open one of these freezers, and calls `onOpen`, until it is disposed of.
   * runc opens a freezer before it pauses or resumes a container, or runs a command in it.
   * Null: this kernel cannot.
   */
  guard(files: readonly FreezerFile[], onOpen: () => void): Disposable | null
}

interface Session {
  readonly request: FreezeRequest
  readonly freezing: (containers: readonly string[]) => void
  readonly ended: (end: FreezeEnd) => void
  readonly over: AbortController
  files: readonly FreezerFile[]
  /** Those that this freeze froze; the others were frozen before. */
  ours: readonly FreezerFile[]
  guard: Disposable | null
  startMs: number | null
}

/**
 * Freezes containers for checkpoints, below Docker's state: neither events nor health nor `docker ps` show it.
 * Runs in the plugin's process, which is not busy: containers are thawed at the end of the budget whatever the agent
 * and its store do.
 * One freeze at a time: another request ends the one before.
 */
export class Freezer {
  readonly #files: FreezerFiles
  readonly #notes: FrozenNotes
  readonly #clock: WatchClock
  readonly #log: Logger
  readonly #stop = new AbortController()
  /** By container: until when a command is expected in it. */
  readonly #announced = new Map<string, number>()
  #session: Session | null = null
  /** Resolves when another freezer may be guarded. */
  #settling: Promise<void> = Promise.resolve()
  #isWarned = false

  constructor(options: { files: FreezerFiles; notes: FrozenNotes; clock: WatchClock; log: Logger }) {
    this.#files = options.files
    this.#notes = options.notes
    this.#clock = options.clock
    this.#log = options.log
  }

  /**
   * Freezes the containers of a request together.
   * Containers that are frozen already are only watched; `freezing` is called with the others just before.
   * `frozen` is called when all are frozen.
   * `ended` is called once, whatever happens: when they run again, or could not be frozen.
   */
  freeze(
    request: FreezeRequest,
    freezing: (containers: readonly string[]) => void,
    frozen: () => void,
    ended: (end: FreezeEnd) => void,
  ): void {
    this.end('replaced')
    const bare = { files: [], ours: [], guard: null, startMs: null }
    const session: Session = { request, freezing, ended, over: new AbortController(), ...bare }
    this.#session = session
    this.#begin(session).then(
      () => {
        if (this.#session === session) frozen()
      },
      (error: unknown) =>
        this.#finish(session, isGone(error) ? { why: 'changed' } : { why: 'failed', error: toError(error) }),
    )
  }

  /** Thaws the containers of this request, if they are frozen for it. */
  thaw(id: string): void {
    const session = this.#session
    if (session?.request.id !== id) return
    const isWhole = session.startMs !== null && session.files.every((file) => stateOf(file) === 'frozen')
    this.#finish(session, { why: isWhole ? null : 'changed' })
  }

  /** Thaws everything now. */
  end(why: FreezeEnd['why']): void {
    if (this.#session !== null) this.#finish(this.#session, { why })
  }

  /** Notes that a command is about to run in a container: it must not be frozen then. */
  commandAnnounced(container: string): void {
    this.#announced.set(container, this.#clock.elapsedMs() + ANNOUNCED_MS)
    const session = this.#session
    if (session !== null && session.startMs !== null && session.request.containers.includes(container))
      this.end('command')
  }

  /** Notes that the announced command starts now. */
  commandStarted(container: string): void {
    const untilMs = this.#announced.get(container)
    if (untilMs === undefined) return
    this.#announced.set(container, Math.min(untilMs, this.#clock.elapsedMs() + STARTED_MS))
  }

  /**
   * Runs `work`, which may open freezers; does nothing while there is a freeze. Rejects as `work` does.
   * Freezes wait for it: a process that guards a freezer must not open one.
   */
  async whileIdle(work: () => Promise<void>): Promise<void> {
    if (this.#session !== null) return
    const done = work()
    this.#settling = Promise.allSettled([this.#settling, done]).then(() => undefined)
    await done
  }

  /** Ends the freeze. On return everything runs. */
  [Symbol.dispose](): void {
    this.end('agent')
    this.#stop.abort()
  }

  async #begin(session: Session): Promise<void> {
    const { request, over } = session
    const ids = request.containers
    this.#files.forget(ids)
    await this.#afterCommands(ids, over.signal)
    await this.#settling
    for (const id of ids) {
      if (over.signal.aborted) return
      const file = await this.#files.open(id)
      if (over.signal.aborted) return file[Symbol.dispose]()
      session.files = [...session.files, file]
    }
    // Containers that somebody else has frozen are only watched, and the next process must not thaw them either.
    const running = session.files.filter((file) => file.state() === 'thawed')
    const idOf = (file: FreezerFile) => ids[session.files.indexOf(file)] ?? ''
    await this.#notes.write(request.id, running.map(idOf))
    if (over.signal.aborted) return
    session.guard = this.#files.guard(session.files, () => {
      if (this.#session !== session) return
      const untilMs = this.#clock.elapsedMs() + STARTED_MS
      for (const id of ids) this.#announced.set(id, Math.max(untilMs, this.#announced.get(id) ?? 0))
      this.#finish(session, { why: 'command' })
    })
    this.#warn(session)
    await this.#clock.sleep(SETTLE_MS, over.signal)
    if (over.signal.aborted) return
    session.startMs = this.#clock.elapsedMs()
    void this.#watchBudget(session)
    session.ours = running.filter((file) => file.state() === 'thawed')
    session.freezing(session.ours.map(idOf))
    for (const file of session.ours) file.set(true)
    await this.#waitUntilFrozen(session)
  }

  /** Waits for announced commands. Bounded: a steady flow of commands must not prevent all checkpoints. */
  async #afterCommands(ids: readonly string[], signal: AbortSignal): Promise<void> {
    const startMs = this.#clock.elapsedMs()
    for (;;) {
      const nowMs = this.#clock.elapsedMs()
      for (const [id, untilMs] of this.#announced) if (untilMs <= nowMs) this.#announced.delete(id)
      const untilMs = Math.max(nowMs, ...ids.map((id) => this.#announced.get(id) ?? 0))
      const restMs = Math.min(untilMs, startMs + ANNOUNCED_MS) - nowMs
      if (restMs <= 0 || signal.aborted) return
      await this.#clock.sleep(restMs, signal)
    }
  }

  async #watchBudget(session: Session): Promise<void> {
    await this.#clock.sleep(session.request.budgetMs, session.over.signal)
    if (this.#session === session) this.#finish(session, { why: 'budget' })
  }

  async #waitUntilFrozen(session: Session): Promise<void> {
    for (let polls = 1; !session.over.signal.aborted; polls++) {
      const states = session.files.map((file) => file.state())
      if (states.every((state) => state === 'frozen')) return
      // Somebody else has thawed what they had frozen, or the container has ended.
      const isLost = session.files.some((file, at) => states[at] === 'thawed' && !session.ours.includes(file))
      if (isLost || states.includes('gone')) return this.#finish(session, { why: 'changed' })
      // A process forked meanwhile may have been missed (freezer-subsystem.rst): freeze again.
      for (const file of session.ours) if (file.state() !== 'frozen') file.set(true)
      if (polls <= QUICK_POLLS) await new Promise(setImmediate)
      else await this.#clock.sleep(POLL_MS, session.over.signal)
    }
  }

  #finish(session: Session, end: Pick<FreezeEnd, 'why'> & { error?: WherryError }): void {
    if (this.#session !== session) return
    this.#session = null
    session.over.abort()
    const left = session.ours.filter((file) => !this.#isThawed(file))
    const frozenMs = session.startMs === null ? null : this.#clock.elapsedMs() - session.startMs
    // Only now: a process that was blocked finds the container running.
    session.guard?.[Symbol.dispose]()
    const { id } = session.request
    const { error } = end
    session.ended({
      id,
      why: end.why,
      frozenMs,
      ...(error === undefined ? {} : { error: { message: error.message, hint: error.hint } }),
    })
    void this.#cleanUp(session, left)
  }

  #isThawed(file: FreezerFile): boolean {
    try {
      file.set(false)
      return true
    } catch (error) {
      this.#log.error({ err: error, path: file.path }, 'container not thawed: retrying')
      return false
    }
  }

  async #cleanUp(session: Session, files: readonly FreezerFile[]): Promise<void> {
    let left = files
    while (left.length > 0 && !this.#stop.signal.aborted) {
      await this.#clock.sleep(THAW_RETRY_MS, this.#stop.signal)
      left = left.filter((file) => !this.#isThawed(file))
    }
    for (const file of session.files) file[Symbol.dispose]()
    // The note stays for the next process, which thaws them.
    if (left.length > 0) return
    await this.#notes.write(session.request.id, []).catch((error: unknown) => {
      this.#log.warn({ err: error }, 'note of frozen containers not removed')
    })
  }

  #warn(session: Session): void {
    if (this.#isWarned || session.guard !== null || session.files.length === 0) return
    this.#isWarned = true
    this.#log.warn(
      'kernel lacks CONFIG_FANOTIFY_ACCESS_PERMISSIONS: docker pause and exec may fail during a checkpoint',
    )
  }
}

/** The state of a freezer. One that cannot be read does not count as frozen. */
function stateOf(file: FreezerFile): FreezerState {
  try {
    return file.state()
  } catch {
    return 'gone'
  }
}

function isGone(error: unknown): boolean {
  return errnoOf(error) === 'ENOENT'
}

function toError(error: unknown): WherryError {
  if (codeOf(error) === 'FREEZER_UNREACHABLE') return error as WherryError
  return new WherryError('FREEZER_UNREACHABLE', `Containers could not be frozen: ${String(error)}.`, { cause: error })
}
