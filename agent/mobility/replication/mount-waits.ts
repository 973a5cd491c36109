import { z } from 'zod'
import type { VolumeRecord } from '../../model/model.ts'
import type { Dependencies } from '../dependencies.ts'
import { hasCheckpoint } from '../record/copies.ts'

/** How often a Mount that waits for data announces it. */
const REPEAT_MS = 1_000
/** A Mount that was not announced for this long waits no more. */
const OVER_MS = 2_500
/**
 * How long catch-ups give way to one Mount.
 * While a copy that takes hours is made, other volumes must not stay at one copy.
 */
const GIVE_WAY_MS = 30_000
/** How long a catch-up gives way to all Mounts together. Messages may be made up, and must not keep copies behind. */
const GIVE_WAY_MOST_MS = 90_000

const waitMessage = z.object({ name: z.string(), id: z.string(), host: z.string(), sources: z.array(z.string()) })
type WaitMessage = z.infer<typeof waitMessage>

interface Wait {
  readonly message: WaitMessage
  readonly sinceMs: number
  readonly heardMs: number
}

/**
 * Mounts on any host that wait for the data of an idle volume, as announced.
 * Catch-ups give way to them.
 */
export class MountWaits {
  readonly #dependencies: Pick<Dependencies, 'bus' | 'clock' | 'self' | 'signal'>
  /** By host and volume id. */
  readonly #waits = new Map<string, Wait>()
  readonly #toldMs = new Map<string, number>()
  /** By volume id: since when its catch-up gives way without a break, and when it did so last. */
  readonly #givesWay = new Map<string, { readonly sinceMs: number; readonly lastMs: number }>()

  constructor(dependencies: Pick<Dependencies, 'bus' | 'clock' | 'self' | 'signal'>) {
    this.#dependencies = dependencies
  }

  /** Follows the announcements of other hosts, until the agent stops. */
  follow(): void {
    const hear = (message: unknown) => {
      const wait = waitMessage.safeParse(message)
      if (wait.success) this.#note(wait.data)
    }
    this.#dependencies.bus.subscribe('volume.*.wanted', hear, this.#dependencies.signal)
  }

  /**
   * Announces that a Mount here waits for the volume's newest checkpoint.
   * Call it as often as you like meanwhile.
   */
  announce(record: VolumeRecord): void {
    const nowMs = this.#dependencies.clock.elapsedMs()
    for (const [id, toldMs] of this.#toldMs) if (nowMs - toldMs >= REPEAT_MS) this.#toldMs.delete(id)
    if (this.#toldMs.has(record.id)) return
    this.#toldMs.set(record.id, nowMs)
    const { id, name } = record
    const message = { id, name, host: this.#dependencies.self.id, sources: sourcesOf(record) }
    this.#note(message)
    this.#dependencies.bus.publish(`volume.${id}.wanted`, message)
  }

  /**
   * Whether a catch-up would compete with a Mount: for the volume, or for a host that both read from.
   * Call it again and again meanwhile: it gives way for a limited time.
   */
  precede(record: VolumeRecord): boolean {
    const nowMs = this.#dependencies.clock.elapsedMs()
    for (const [id, { lastMs }] of this.#givesWay) if (nowMs - lastMs >= OVER_MS) this.#givesWay.delete(id)
    if (!this.#isWanted(record)) return false
    const sinceMs = this.#givesWay.get(record.id)?.sinceMs ?? nowMs
    this.#givesWay.set(record.id, { sinceMs, lastMs: nowMs })
    return nowMs - sinceMs < GIVE_WAY_MOST_MS
  }

  #isWanted(record: VolumeRecord): boolean {
    const nowMs = this.#dependencies.clock.elapsedMs()
    const sources = sourcesOf(record)
    return [...this.#waits.values()].some(
      ({ message, sinceMs, heardMs }) =>
        nowMs - heardMs < OVER_MS &&
        nowMs - sinceMs < GIVE_WAY_MS &&
        (message.id === record.id || message.sources.some((host) => sources.includes(host))),
    )
  }

  #note(message: WaitMessage): void {
    const nowMs = this.#dependencies.clock.elapsedMs()
    const key = `${message.host} ${message.id}`
    const before = this.#waits.get(key)
    for (const [other, { heardMs }] of this.#waits) if (nowMs - heardMs >= OVER_MS) this.#waits.delete(other)
    const sinceMs = this.#waits.has(key) && before !== undefined ? before.sinceMs : nowMs
    this.#waits.set(key, { message, sinceMs, heardMs: nowMs })
  }
}

/** Returns the ids of the hosts that have the volume's newest checkpoint. */
function sourcesOf({ copies, last }: VolumeRecord): string[] {
  if (last === null) return []
  return Object.entries(copies).flatMap(([host, copy]) => (hasCheckpoint(copy, last) ? [host] : []))
}
