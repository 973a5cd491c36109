import { basename } from 'node:path'
import type { LocalCopy } from '../../store/contract.ts'
import type { Dependencies } from '../dependencies.ts'

/** Far below the heartbeat: a beat that is this late counts as in time. */
const PATIENCE_MS = 200

/** A record that this agent has changed. */
interface Noted {
  /** Null: the copy is gone. */
  readonly copy: LocalCopy | null
  /** Number of scans that had begun: a later one has the change. */
  readonly scans: number
}

/**
 * The copies that this host holds, by its disk, for the heartbeat, the watchdog and the views.
 * A disk that is slow, hangs or fails must not cost the lease, nor keep the host from saying what is wrong. So the
 * last scan stands in for one that takes too long or fails.
 * A record that cannot be read does not end a hold. A change by this agent counts at once, whatever an earlier scan
 * finds.
 */
export class HeldCopies {
  readonly #dependencies: Pick<Dependencies, 'store' | 'clock' | 'signal'>
  #known: readonly LocalCopy[] | null = null
  #undescribed: ReadonlySet<string> = new Set()
  readonly #noted = new Map<string, Noted>()
  #scans = 0
  #reading: Promise<void> | null = null

  constructor(dependencies: Pick<Dependencies, 'store' | 'clock' | 'signal'>) {
    this.#dependencies = dependencies
  }

  /** Notes that a copy's record was changed on the disk; null: the copy is gone from it. */
  note(id: string, copy: LocalCopy | null): void {
    this.#noted.set(id, { copy, scans: this.#scans })
  }

  /**
   * Returns the held copies.
   * Waits for the disk the first time, and rejects as `Store.copies`; later it does neither for long.
   */
  async list(): Promise<readonly LocalCopy[]> {
    return (await this.all()).filter((copy) => copy.held !== null)
  }

  /** The same, with those that are not held. */
  async all(): Promise<readonly LocalCopy[]> {
    const reading = this.#read()
    if (this.#known === null) {
      await reading
      return this.#current()
    }
    const { clock, signal } = this.#dependencies
    const inTime = new AbortController()
    const late = clock.sleep(PATIENCE_MS, AbortSignal.any([inTime.signal, signal]))
    try {
      await Promise.race([reading.catch(() => undefined), late])
    } finally {
      // A reason of its own: the default one is an error with a stack, made for each heartbeat.
      inTime.abort('in time')
    }
    return this.#current()
  }

  /** Whether there is a copy of a volume, by name, as far as is known. True while nothing is known yet. */
  has(name: string): boolean {
    return this.#known === null || this.#undescribed.size > 0 || this.#current().some((copy) => copy.name === name)
  }

  /** Ids of what is on the disk or mounted, while no readable record says whether it is held. */
  get undescribed(): ReadonlySet<string> {
    return this.#undescribed
  }

  /** The last scan, with what was changed since it began. */
  #current(): readonly LocalCopy[] {
    const unchanged = (this.#known ?? []).filter(({ id }) => !this.#noted.has(id))
    return [...unchanged, ...[...this.#noted.values()].flatMap(({ copy }) => copy ?? [])]
  }

  /** Scans the disk, or joins the scan that runs. */
  #read(): Promise<void> {
    this.#reading ??= this.#scan().finally(() => {
      this.#reading = null
    })
    return this.#reading
  }

  async #scan(): Promise<void> {
    const nth = ++this.#scans
    const { store } = this.#dependencies
    const mounted = await store.mounted()
    const { copies, damaged } = await store.copies()
    const unread = new Set([...mounted, ...damaged.map(({ path }) => basename(path))])
    for (const { id } of copies) unread.delete(id)
    this.#known = [...copies, ...this.#current().filter(({ id }) => unread.has(id))]
    for (const [id, { scans }] of this.#noted) if (scans < nth) this.#noted.delete(id)
    for (const { id } of this.#current()) unread.delete(id)
    this.#undescribed = unread
  }
}
