import type { WherryError } from '../../model/errors.ts'
import type { Trouble } from '../../model/model.ts'
import { RETRY_MOST_MS, retryAfterMs } from '../../runtime/back-off.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Dependencies } from '../dependencies.ts'
import { troubleOf } from '../trouble.ts'
import type { ReleaseTroubles } from '../use-contract.ts'

/**
 * An operator who ends what keeps a volume busy should not have to wait.
 * All processes are scanned each time.
 */
const BUSY_RETRY_MOST_MS = 2_000
/** A release that somebody waits for is retried sooner, but not more often than this. */
const ASKED_RETRY_MS = 2_000
/**
 * A long release is not repeated for each request, nor while a volume is busy.
 * It takes this share of the time.
 */
const MOST_SHARE = 0.1
const HEARTBEAT_MOST_VOLUMES = 50

interface Failed {
  readonly trouble: Trouble
  readonly failures: number
  readonly endedMs: number
  readonly tookMs: number
}

/** Why volumes without uses could not be released, since when, and when each release is retried. */
export class ReleaseTroubleTable implements ReleaseTroubles {
  readonly #dependencies: Pick<Dependencies, 'clock' | 'log'>
  /** By volume id. */
  readonly #failed = new Map<string, Failed>()
  #unreadable: ReadonlySet<string> = new Set()

  constructor(dependencies: Pick<Dependencies, 'clock' | 'log'>) {
    this.#dependencies = dependencies
  }

  /** Notes a failed release that began at `startMs`; logs it when the reason is another than before. */
  note({ id, name }: Pick<LocalCopy, 'id' | 'name'>, error: unknown, startMs: number): void {
    const { clock, log } = this.#dependencies
    const before = this.#failed.get(id)
    const trouble = troubleOf(error, clock.now())
    const isSame = before?.trouble.code === trouble.code
    const endedMs = clock.elapsedMs()
    this.#failed.set(id, {
      trouble: isSame ? { ...trouble, since: before.trouble.since } : trouble,
      failures: isSame ? before.failures + 1 : 1,
      endedMs,
      tookMs: endedMs - startMs,
    })
    const level = isSame ? 'debug' : 'error'
    log[level]({ err: error, volume: name, id, code: trouble.code }, 'release failed: volume stays held')
  }

  /**
   * Notes the copies whose records cannot be read, by id, with the reason.
   * A hold among them cannot be ended.
   * Forgets those that can be read again.
   */
  noteUnreadable(found: ReadonlyMap<string, WherryError>): void {
    for (const id of this.#unreadable) if (!found.has(id)) this.clear(id)
    this.#unreadable = new Set(found.keys())
    const nowMs = this.#dependencies.clock.elapsedMs()
    for (const [id, why] of found) this.note({ id, name: id }, why, nowMs)
  }

  /** The volume was released, or is used again. */
  clear(id: string): void {
    this.#failed.delete(id)
  }

  /** Whether a release should be tried now. `asked`: somebody waits for it. */
  isDue(id: string, asked: boolean): boolean {
    const failed = this.#failed.get(id)
    if (failed === undefined) return true
    const { trouble, failures, endedMs, tookMs } = failed
    const isBusy = trouble.code === 'VOLUME_BUSY'
    const mostMs = isBusy ? Math.max(BUSY_RETRY_MOST_MS, tookMs / MOST_SHARE) : RETRY_MOST_MS
    const waitMs = Math.min(mostMs, retryAfterMs(failures))
    const askedMs = Math.max(ASKED_RETRY_MS, tookMs / MOST_SHARE)
    return this.#dependencies.clock.elapsedMs() - endedMs >= (asked ? Math.min(waitMs, askedMs) : waitMs)
  }

  of(id: string): Trouble | null {
    return this.#failed.get(id)?.trouble ?? null
  }

  /** For the heartbeat: by volume id, bounded; those that have lasted longest first. */
  all(): Readonly<Record<string, Trouble>> {
    const found = [...this.#failed].map(([id, { trouble }]) => [id, trouble] as const)
    const oldest = found.sort(([, a], [, b]) => Date.parse(a.since) - Date.parse(b.since))
    return Object.fromEntries(oldest.slice(0, HEARTBEAT_MOST_VOLUMES))
  }
}
