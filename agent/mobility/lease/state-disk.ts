import type { Trouble } from '../../model/model.ts'
import { isUnwritable } from '../../sys/failure.ts'
import type { Dependencies } from '../dependencies.ts'
import type { StateDiskHealth } from '../host-contract.ts'
import { troubleOf } from '../trouble.ts'
import { KeyedWakeups } from '../wakeups.ts'

/** One small synced write: cheap, and soon enough to act on a disk that fails. */
const PROBE_EVERY_MS = 10_000
/** While the last probe failed, or another write met an error. */
const PROBE_AGAIN_MS = 1_000
/** Probes in a row that must fail before anything is done: a disk may lose one request. */
const FAILURES = 2
/**
 * Probes in a row that must pass before the disk counts as writable.
 * Meanwhile the watchdog notes what it paused without a note.
 */
const PASSES = 3
const KEY = '/state-disk'

/**
 * Whether this host can write its state directory.
 * A host that cannot keeps nothing of what it promises: no use, no hold, no checkpoint. A full disk is not meant: its
 * containers run, and their data is safe.
 */
export class ProbedStateDisk implements StateDiskHealth {
  readonly #dependencies: Pick<Dependencies, 'store' | 'clock' | 'log' | 'signal'>
  readonly #changed: () => void
  readonly #wakeups = new KeyedWakeups()
  #trouble: Trouble | null = null

  /** `changed` is called when `trouble` has changed. */
  constructor(dependencies: Pick<Dependencies, 'store' | 'clock' | 'log' | 'signal'>, changed: () => void) {
    this.#dependencies = dependencies
    this.#changed = changed
  }

  /** Why nothing can be written; null: it can, as far as is known. */
  get trouble(): Trouble | null {
    return this.#trouble
  }

  /** Probes the disk now if `error`, of a failed write, may mean that nothing can be written. */
  suspect(error: unknown): void {
    if (isUnwritable(error)) this.#wakeups.wake(KEY)
  }

  /** Probes until the agent stops. */
  async run(): Promise<void> {
    const { clock, signal, log } = this.#dependencies
    let failures = 0
    let passes = 0
    while (!signal.aborted) {
      const error = await this.#probe()
      failures = error === null ? 0 : failures + 1
      passes = error === null ? passes + 1 : 0
      if (error !== null && failures >= FAILURES && this.#trouble === null) {
        this.#trouble = troubleOf(error, clock.now())
        log.error({ err: error }, 'state directory unwritable: lease given up')
        this.#changed()
      } else if (this.#trouble !== null && passes >= PASSES) {
        this.#trouble = null
        log.info('state directory writable again')
        this.#changed()
      }
      const hurries = failures > 0 || this.#trouble !== null
      const waitMs = hurries ? PROBE_AGAIN_MS : PROBE_EVERY_MS
      await this.#wakeups.wait(KEY, (until) => clock.sleep(waitMs, until), signal)
      // A wake must not count two failures of one moment as two.
      if (hurries) await clock.sleep(PROBE_AGAIN_MS / 2, signal)
    }
  }

  async #probe(): Promise<unknown> {
    try {
      await this.#dependencies.store.probe()
      return null
    } catch (error) {
      return isUnwritable(error) ? error : null
    }
  }
}
