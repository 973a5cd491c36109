import { z } from 'zod'
import type { EngineEvent } from '../../docker/contract.ts'
import { WherryError } from '../../model/errors.ts'
import type { VolumeRecord } from '../../model/model.ts'
import type { Context } from '../context.ts'
import { findCandidates } from '../failover/candidates.ts'
import { planTakeover } from '../failover/takeover.ts'
import { isAt } from '../record/copies.ts'
import { NAMESAKES, RECONCILE } from '../wakeups.ts'
import { ServiceOptions } from './service-options.ts'

/** A task starts within its predecessor's stop grace and Swarm's delays; after this it will not come. */
const WANTED_AFTER_HINT_MS = 2 * 60_000
/** Swarm creates tasks some moments after the event that causes them: when to scan again. */
const SCANS_AFTER_EVENT_MS = [0, 150, 400, 1_000, 2_500]
const SCAN_EVERY_MS = 5_000
/** The same hint is not sent again sooner. */
const REPEAT_HINT_MS = 10_000
/** The leader is asked at most this often per volume, however often `docker volume inspect` is run. */
const ASK_LEADER_EVERY_MS = 1_000
/** Bound on the hints sent that are remembered. */
const MAX_REMEMBERED = 10_000

const LEADER_SCAN = '/leader-scan'

const hintMessage = z.object({ name: z.string(), id: z.string(), epoch: z.number().int().nonnegative() })
type Hint = z.output<typeof hintMessage>

/** Hints: a volume will be wanted on a host soon. Acting on them saves time and is never needed. */
export class Hints {
  readonly #context: Pick<
    Context,
    'dependencies' | 'hosts' | 'wakeups' | 'copyManager' | 'expiry' | 'containerUses' | 'node' | 'engineInfo'
  >
  readonly #sentMs = new Map<string, number>()
  readonly #serviceOptions: ServiceOptions

  constructor(
    context: Pick<
      Context,
      'dependencies' | 'hosts' | 'wakeups' | 'copyManager' | 'expiry' | 'containerUses' | 'node' | 'engineInfo'
    >,
  ) {
    this.#context = context
    this.#serviceOptions = new ServiceOptions(context.dependencies.log)
  }

  /** Follows hints, engine events and, on the Swarm's leader, its tasks, until the agent stops. */
  start(): void {
    const { bus, engine, self, signal } = this.#context.dependencies
    bus.subscribe(`hint.${self.id}`, (message) => void this.#onHint(message), signal)
    bus.subscribe('schedule.look', () => this.#context.wakeups.wake(LEADER_SCAN), signal)
    engine.watch((event) => void this.#onEvent(event), signal)
    void this.#lead()
  }

  /**
   * Notes a Get or Create call for a volume whose data is elsewhere.
   * The Swarm's leader is asked to scan its tasks now.
   * Docker makes the same call for a new task and for `docker volume inspect`, so it is not reason enough to copy.
   */
  noteDemand(record: VolumeRecord): void {
    if (this.#context.node.swarmNode === null || record.holder?.host === this.#context.dependencies.self.id) return
    if (!this.#first(`ask ${record.id}`, ASK_LEADER_EVERY_MS)) return
    this.#context.dependencies.bus.publish('schedule.look', {
      host: this.#context.dependencies.self.id,
      volume: record.name,
    })
  }

  async #onHint(message: unknown): Promise<void> {
    const hint = hintMessage.safeParse(message)
    if (!hint.success) return
    const { clock, log } = this.#context.dependencies
    try {
      await this.#follow(hint.data, clock.elapsedMs() + WANTED_AFTER_HINT_MS)
    } catch (error) {
      log.info({ err: error, volume: hint.data.name }, 'hint ignored')
    }
  }

  async #follow(hint: Hint, untilMs: number): Promise<void> {
    const { registry, store, self, log, clock, signal } = this.#context.dependencies
    const record = (await registry.volume(hint.name))?.value
    const local = await store.copy(hint.id)
    if (record === undefined || record.id !== hint.id || record.holder?.host === self.id) return
    if (local !== null && hint.epoch < local.epochSeen) return
    const { holder } = record
    if (holder === null && record.last !== null && isAt(local, record.last)) return
    if (holder === null || this.#context.hosts.alive(holder.host)) {
      log.info({ volume: record.name }, 'task scheduled here: pre-seeding its volume')
      this.#context.copyManager.want(record, WANTED_AFTER_HINT_MS)
      return
    }
    const waitMs = this.#context.expiry.inMs(holder.host)
    if (waitMs === 0) return this.#bringWithoutHolder(record)
    if (clock.elapsedMs() + waitMs >= untilMs) return
    await clock.sleep(waitMs, signal)
    if (!signal.aborted) await this.#follow(hint, untilMs)
  }

  /**
   * Brings what a Mount would take over with, from the hosts that have it.
   * A lost holder cannot pre-seed, and dialling it takes seconds.
   */
  async #bringWithoutHolder(record: VolumeRecord): Promise<void> {
    const { store, signal, log } = this.#context.dependencies
    const found = await planTakeover(this.#context, record, { isOperator: false, loss: false }, () =>
      findCandidates(this.#context, record, signal),
    )
    // If it cannot be taken over, the Mount says why.
    if (found instanceof WherryError || isAt(await store.copy(record.id), found.best)) return
    log.info({ volume: record.name }, 'task scheduled here, holder lost: fetching the newest checkpoint')
    this.#context.copyManager.wantCheckpoint(record, found.best, found.hosts, WANTED_AFTER_HINT_MS)
  }

  async #onEvent(event: EngineEvent): Promise<void> {
    const { bus, self, log } = this.#context.dependencies
    if (event.kind === 'node' || event.kind === 'daemon') this.#context.engineInfo.dueMs = Number.NEGATIVE_INFINITY
    try {
      if (event.kind === 'node' || event.kind === 'service') {
        bus.publish(`schedule.${event.kind}`, { host: self.id, ...event })
        await this.#scanSoon()
        return
      }
      if (event.kind === 'volume') {
        if (event.action === 'create' || event.action === 'destroy') this.#context.wakeups.wake(NAMESAKES)
        return
      }
      if (event.kind === 'container' && event.action === 'start') await this.#context.containerUses.refresh()
      const volumes = this.#context.containerUses.volumesOf(event.id)
      if (event.kind === 'container' && volumes.length > 0) {
        bus.publish(`container.${self.id}`, { host: self.id, ...event, volumes })
      }
      if (volumes.length > 0 || event.kind === 'daemon') this.#context.wakeups.wake(RECONCILE)
    } catch (error) {
      log.debug({ err: error }, 'engine event ignored')
    }
  }

  async #scanSoon(): Promise<void> {
    for (const ms of SCANS_AFTER_EVENT_MS) {
      await this.#context.dependencies.clock.sleep(ms, this.#context.dependencies.signal)
      this.#context.wakeups.wake(LEADER_SCAN)
    }
  }

  async #lead(): Promise<void> {
    const { clock, signal, log } = this.#context.dependencies
    while (!signal.aborted) {
      if (this.#context.node.leader) {
        await this.#scan().catch((error: unknown) => log.debug({ err: error }, 'scan of the tasks failed'))
      }
      await this.#context.wakeups.wait(LEADER_SCAN, (until) => clock.sleep(SCAN_EVERY_MS, until), signal)
    }
  }

  /** Sends hints to the hosts where tasks will run and that lack the data of their volumes. */
  async #scan(): Promise<void> {
    const { bus, engine, registry } = this.#context.dependencies
    const tasks = await engine.tasks()
    if (tasks.length === 0) return
    const entries = await registry.followedVolumes()
    this.#serviceOptions.compare(tasks, new Map(entries.map(({ value }) => [value.name, value])))
    for (const task of tasks) {
      const host = this.#context.hosts.all().find((known) => known.swarmNode === task.node)
      if (host === undefined) continue
      for (const { value: record } of entries) {
        if (!task.volumes.includes(record.name) || record.holder?.host === host.id) continue
        if (!this.#first(`${task.task} ${record.id} ${host.id}`, REPEAT_HINT_MS)) continue
        bus.publish('schedule.task', { ...task, host: host.id, volume: record.name })
        bus.publish(`hint.${host.id}`, { name: record.name, id: record.id, epoch: record.epoch })
      }
    }
  }

  /** True when `key` was not seen within `everyMs`. */
  #first(key: string, everyMs: number): boolean {
    const nowMs = this.#context.dependencies.clock.elapsedMs()
    if (nowMs - (this.#sentMs.get(key) ?? Number.NEGATIVE_INFINITY) < everyMs) return false
    if (this.#sentMs.size >= MAX_REMEMBERED) this.#sentMs.clear()
    this.#sentMs.set(key, nowMs)
    return true
  }
}
