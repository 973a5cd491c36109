import type { Logger } from 'pino'
import { codeOf, WherryError } from '../model/errors.ts'
import { errnoOf } from '../sys/failure.ts'
import type { FreezeEnd, FreezeRequest } from './contract.ts'
import type { FrozenNotes } from './frozen-notes.ts'
import type { WatchClock } from './watchdog.ts'

/**
 * Whoever has opened a freezer just before it was guarded has written to it by then, on a busy machine as well. The
 * containers run meanwhile, and whoever opens one ends the freeze.
 */
const SETTLE_MS = 10
const POLL_MS = 1
/** Freezing takes a fraction of a millisecond: the first polls come without a rest. */
const QUICK_POLLS = 50
/** A command that was announced has been carried out by then, or waits for its container. */
const ANNOUNCED_MS = 1_000
/** From the event that says so to the moment in which runc looks at the freezer. */
const STARTED_MS = 150
/** A write to a freezer does not fail; if one does, the containers stand still meanwhile. */
const THAW_RETRY_MS = 50

/** `freezing`: somebody has told it to, and not all processes stand still yet. */
export type FreezerState = 'thawed' | 'freezing' | 'frozen' | 'gone'

/** The freezer of one container as the kernel has it, held open. Calls take microseconds and do not wait. */
export interface FreezerFile extends Disposable {
  readonly path: string
  state(): FreezerState
  /** No error for a container that is gone. */
  set(frozen: boolean): void
}

export interface FreezerFiles {
  /** Rejects FREEZER_UNREACHABLE. */
  open(container: string): Promise<FreezerFile>
  /** Forgets where the freezers of all other containers are. */
  forget(containers: readonly string[]): void
  /**
   * Holds whoever looks at one of these freezers (runc does before it pauses a container, lets it go on, or runs a
   * command in it), calls `knocked` meanwhile, and lets them go on when it is disposed of. Null where the kernel
   * cannot.
   */
  guard(files: readonly FreezerFile[], knocked: () => void): Disposable | null
}

interface Session {
  readonly request: FreezeRequest
  readonly freezing: (containers: readonly string[]) => void
  readonly ended: (end: FreezeEnd) => void
  readonly over: AbortController
  files: readonly FreezerFile[]
  /** Those that we froze; the others stood still already. */
  ours: readonly FreezerFile[]
  guard: Disposable | null
  startMs: number | null
}

/**
 * Freezes containers for checkpoints, below Docker's state: neither events nor health nor `docker ps` show it. Runs in
 * the plugin's process, which is not busy, so that containers run again when the budget is over whatever becomes of
 * agent and store. One freeze at a time: another request ends the one before.
 */
export class Freezer {
  readonly #files: FreezerFiles
  readonly #notes: FrozenNotes
  readonly #clock: WatchClock
  readonly #log: Logger
  readonly #stop = new AbortController()
  /** Until when commands are expected in a container. */
  readonly #announced = new Map<string, number>()
  #session: Session | null = null
  /** What must be over before another freezer is guarded. */
  #settling: Promise<void> = Promise.resolve()
  #isWarned = false

  constructor(options: { files: FreezerFiles; notes: FrozenNotes; clock: WatchClock; log: Logger }) {
    this.#files = options.files
    this.#notes = options.notes
    this.#clock = options.clock
    this.#log = options.log
  }

  /**
   * Freezes the containers of a request, all at once; `frozen` is called when all stand still. `ended` is called once,
   * whatever happens: when they run again, or if they could not be frozen. Those that stand still already are only
   * watched; `freezing` is called with the others, just before they are told.
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

  /** Lets the containers of this request go on, if they stand still for it. */
  thaw(id: string): void {
    const session = this.#session
    if (session?.request.id !== id) return
    const whole = session.startMs !== null && session.files.every((file) => stateOf(file) === 'frozen')
    this.#finish(session, { why: whole ? null : 'changed' })
  }

  /** Lets everything go on at once. */
  end(why: FreezeEnd['why']): void {
    if (this.#session !== null) this.#finish(this.#session, { why })
  }

  /** Something is about to be done in a container, for which it must run. */
  announced(container: string): void {
    this.#announced.set(container, this.#clock.elapsedMs() + ANNOUNCED_MS)
    const session = this.#session
    if (session !== null && session.startMs !== null && session.request.containers.includes(container))
      this.end('command')
  }

  /** What was announced is being done. */
  started(container: string): void {
    const untilMs = this.#announced.get(container)
    if (untilMs === undefined) return
    this.#announced.set(container, Math.min(untilMs, this.#clock.elapsedMs() + STARTED_MS))
  }

  /**
   * Runs `work`, which may open freezers: this process must not while it guards one. Freezes wait until it is done. Not
   * run while there is a freeze. Rejects as `work` does.
   */
  async whileIdle(work: () => Promise<void>): Promise<void> {
    if (this.#session !== null) return
    const done = work()
    this.#settling = Promise.allSettled([this.#settling, done]).then(() => undefined)
    await done
  }

  /** On return everything runs. */
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
    // What somebody else has frozen stays so: it is only watched, and a process after this one must not thaw it either.
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
    await this.#untilStill(session)
  }

  /** Bounded: commands that follow each other all the time would keep checkpoints from ever being taken. */
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

  async #untilStill(session: Session): Promise<void> {
    for (let polls = 1; !session.over.signal.aborted; polls++) {
      const states = session.files.map((file) => file.state())
      if (states.every((state) => state === 'frozen')) return
      // Somebody else has let go on what they had frozen, or it has ended.
      const isLost = session.files.some((file, at) => states[at] === 'thawed' && !session.ours.includes(file))
      if (isLost || states.includes('gone')) return this.#finish(session, { why: 'changed' })
      // A process that was forked meanwhile may have been missed (freezer-subsystem.rst): it is told again.
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
    // Only now: whoever looks finds the container running.
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
      this.#log.error({ err: error, path: file.path }, 'a container could not be thawed; trying again')
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
    // The next process finds those that could not be thawed.
    if (left.length > 0) return
    await this.#notes.write(session.request.id, []).catch((error: unknown) => {
      this.#log.warn({ err: error }, 'the note of what was frozen could not be removed')
    })
  }

  #warn(session: Session): void {
    if (this.#isWarned || session.guard !== null || session.files.length === 0) return
    this.#isWarned = true
    this.#log.warn(
      'this kernel cannot hold who looks at a frozen container (CONFIG_FANOTIFY_ACCESS_PERMISSIONS): docker pause and docker exec may be refused in the moment of a checkpoint',
    )
  }
}

/** What cannot be read any more does not count as frozen. */
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
