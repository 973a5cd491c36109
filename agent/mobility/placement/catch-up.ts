import { codeOf } from '../../model/errors.ts'
import type { VolumeRecord } from '../../model/model.ts'
import { backOffMs, RETRY_MOST_MS } from '../../runtime/back-off.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import type { CatchUp, RunningCopy } from '../copy-contract.ts'
import { hasCheckpoint, isAt, mayHaveCheckpoint } from '../record/copies.ts'
import { isHopeless } from '../replication/errors.ts'
import { placementHostsFor } from './hosts.ts'
import { mayGiveUp } from './policy.ts'
import { whyBusy } from './surplus.ts'

/**
 * Most volumes that move are mounted elsewhere within this after their release.
 * Until then that Mount has the sources to itself.
 */
const QUIET_MS = 1_000
/** Catch-ups at the same time: many small ones mostly wait for disks, and large ones share one network. */
const MOST_AT_ONCE = 4
/** From a failed try to the next one, with back-off. */
const RETRY_MS = 5_000
/** While nothing is due; `sweep` finds what wakeups miss. */
const REST_MS = 60_000

const CATCH_UP = '/catch-up'
/** Names this work among the troubles of a volume. */
const STEP = 'catch up'

type CatchUpContext = Pick<
  Context,
  'dependencies' | 'hosts' | 'wakeups' | 'copyManager' | 'volumeTroubles' | 'node' | 'pendingMounts'
>

interface Waiting {
  readonly id: string
  readonly hash: string
  readonly dueMs: number
  readonly failures: number
}

/**
 * Brings this host's copies of idle volumes to their newest checkpoint, at low priority.
 * It begins soon after the release. Few run at a time, the first released first, and after Mounts (MountWaits).
 * Nothing here needs to survive a restart.
 */
export class IdleCatchUp implements CatchUp {
  readonly #context: CatchUpContext
  /** Names of volumes whose records may have changed. */
  readonly #changed = new Set<string>()
  /** By name, in the order in which they were found to be behind. */
  readonly #waiting = new Map<string, Waiting>()
  readonly #running = new Map<string, RunningCopy>()

  constructor(context: CatchUpContext) {
    this.#context = context
  }

  /** Compares the copy of a volume, by name, with its record soon. May be repeated. */
  note(name: string): void {
    this.#changed.add(name)
    this.#context.wakeups.wake(CATCH_UP)
  }

  /** Tries again at once what failed before: an operator has come. May be repeated. */
  retry(name: string): void {
    const waiting = this.#waiting.get(name)
    if (waiting !== undefined) {
      const dueMs = this.#context.dependencies.clock.elapsedMs()
      this.#waiting.set(name, { ...waiting, dueMs, failures: 0 })
      this.#context.volumeTroubles.clear(waiting.id)
    }
    this.note(name)
  }

  /** Notes all volumes of which this disk has a copy that is not held: finds what wakeups have missed. */
  async sweep(): Promise<void> {
    for (const { name, held } of (await this.#context.dependencies.store.copies()).copies)
      if (held === null) this.note(name)
  }

  /** Works until the agent stops. Never rejects. */
  async run(): Promise<void> {
    const { clock, signal, log } = this.#context.dependencies
    while (!signal.aborted) {
      let leastMs = 0
      try {
        await this.#judgeChanged()
        await this.#begin()
      } catch (error) {
        // The next sweep finds what is forgotten here. What is due stays so, and must not be retried without a pause.
        this.#changed.clear()
        leastMs = RETRY_MS
        log.debug({ err: error }, 'scan for copies that are behind failed')
      }
      if (this.#changed.size > 0) continue
      const restMs = Math.max(leastMs, this.#restMs())
      await this.#context.wakeups.wait(CATCH_UP, (until) => clock.sleep(restMs, until), signal)
    }
  }

  async #judgeChanged(): Promise<void> {
    for (const name of this.#changed) {
      this.#changed.delete(name)
      await this.#judge(name).catch((error: unknown) => this.#postpone(name, error))
    }
  }

  /**
   * Postpones a copy that cannot be compared, so that it keeps no other from its turn.
   * Throws on an outage.
   */
  #postpone(name: string, error: unknown): null {
    const { clock, signal, log } = this.#context.dependencies
    if (signal.aborted || codeOf(error) === 'REGISTRY_UNAVAILABLE') throw error
    const waiting = this.#waiting.get(name)
    const failures = (waiting?.failures ?? 0) + 1
    const dueMs = clock.elapsedMs() + waitMs(failures, error)
    if (waiting !== undefined) this.#waiting.set(name, { ...waiting, dueMs, failures })
    const level = failures === 1 ? 'error' : 'debug'
    log[level]({ err: error, volume: name }, 'comparison of a copy with its record failed')
    return null
  }

  /** Notes whether the copy here is behind, and since when; returns the record if it is. */
  async #judge(name: string): Promise<VolumeRecord | null> {
    const { registry, store, clock } = this.#context.dependencies
    const record = (await registry.followedVolume(name))?.value
    const local = record === undefined ? null : await store.copy(record.id)
    if (record === undefined || !isBehind(this.#context, record, local)) {
      this.#waiting.delete(name)
      if (record !== undefined) this.#context.volumeTroubles.clear(record.id, STEP)
      return null
    }
    const hash = record.last?.hash ?? ''
    const before = this.#waiting.get(name)
    if (before?.id === record.id && before.hash === hash) return record
    this.#waiting.delete(name)
    this.#waiting.set(name, { id: record.id, hash, dueMs: clock.elapsedMs() + QUIET_MS, failures: 0 })
    return record
  }

  async #begin(): Promise<void> {
    const { clock } = this.#context.dependencies
    for (const [name, { dueMs }] of [...this.#waiting]) {
      if (this.#running.size >= MOST_AT_ONCE) return
      if (this.#running.has(name) || clock.elapsedMs() < dueMs) continue
      const record = await this.#judge(name).catch((error: unknown) => this.#postpone(name, error))
      const waiting = this.#waiting.get(name)
      // It may have been held and released meanwhile: then its time restarts.
      if (record === null || waiting === undefined || clock.elapsedMs() < waiting.dueMs) continue
      this.#start(record, waiting)
    }
  }

  #start(record: VolumeRecord, waiting: Waiting): void {
    const { copyManager, dependencies, volumeTroubles } = this.#context
    const job = copyManager.want(record, 0)
    this.#running.set(record.name, job)
    void job.done.then(() => {
      this.#running.delete(record.name)
      const failure = job.failure()
      const failures = failure === null ? 0 : waiting.failures + 1
      if (failure === null) volumeTroubles.clear(record.id, STEP)
      else volumeTroubles.note(record, STEP, failure)
      const dueMs = dependencies.clock.elapsedMs() + waitMs(failures, failure)
      if (this.#waiting.get(record.name) === waiting) this.#waiting.set(record.name, { ...waiting, dueMs, failures })
      this.note(record.name)
    })
  }

  #restMs(): number {
    const nowMs = this.#context.dependencies.clock.elapsedMs()
    const full = this.#running.size >= MOST_AT_ONCE
    const due = [...this.#waiting].filter(([name]) => !full && !this.#running.has(name)).map(([, { dueMs }]) => dueMs)
    return Math.max(0, Math.min(REST_MS, ...due.map((dueMs) => dueMs - nowMs)))
  }
}

/** What an operator has to end is tried again more seldom. */
function waitMs(failures: number, error: unknown): number {
  return backOffMs(RETRY_MS, failures, isHopeless(error) ? RETRY_MOST_MS : undefined)
}

/**
 * Whether this host's copy of an idle volume is behind, and another living host has the newest.
 * Pre-seeded data is no copy, and a diverged copy is not overwritten (promise 7). A copy that placement is about to
 * drop stays as it is: brought up to date it would be as good as the placed ones, and any of them might be dropped.
 */
function isBehind(
  context: Pick<Context, 'dependencies' | 'hosts' | 'copyManager' | 'node' | 'pendingMounts'>,
  record: VolumeRecord,
  local: LocalCopy | null,
): boolean {
  const { self } = context.dependencies
  const { last, copies } = record
  const mine = copies[self.id]
  if (record.holder !== null || last === null || record.removedAt !== null) return false
  if (mine === undefined || mine.state === 'diverged') return false
  if (local !== null && (local.held !== null || local.epochSeen > record.epoch)) return false
  if ((local?.checkpoint ?? null) === null && !mine.kept) return false
  if (hasCheckpoint(mine, last) && isAt(local, last)) return false
  if (isSurplus(context, record, local)) return false
  return Object.entries(copies).some(
    ([host, copy]) => host !== self.id && mayHaveCheckpoint(copy, last) && context.hosts.alive(host),
  )
}

/** Whether enough living hosts have the newest checkpoint, and this copy can be dropped in time. */
function isSurplus(
  context: Pick<Context, 'dependencies' | 'hosts' | 'copyManager' | 'node' | 'pendingMounts'>,
  record: VolumeRecord,
  local: LocalCopy | null,
): boolean {
  const alive = (host: string) => context.hosts.alive(host)
  if (!mayGiveUp(record, context.dependencies.self.id, placementHostsFor(context, [record]), alive)) return false
  return whyBusy(context, record.name, local) === null
}
