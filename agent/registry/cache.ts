import { LRUCache } from 'lru-cache'
import { codeOf } from '../model/errors.ts'
import type { VolumeRecord } from '../model/model.ts'
import type { Registry, Versioned } from './contract.ts'

/** Ten thousand records take a few megabytes, and exceed the volumes of any cluster. */
const DEFAULT_MAX = 10_000

type Entry = Versioned<VolumeRecord>

export interface VolumeCacheOptions {
  readonly registry: Pick<Registry, 'volume' | 'volumes' | 'watch'>
  /** Number of records kept. */
  readonly max?: number
  /** Called with the names of all volumes, sorted, when they have changed. */
  readonly named?: (names: readonly string[]) => void
}

/**
 * Serves Docker's Get, Path and List while the registry is out of reach.
 * A known volume is never "not found" then: dockerd would forget its metadata (promise 10).
 * No decision rests on this cache.
 */
export class VolumeCache {
  readonly #registry: VolumeCacheOptions['registry']
  readonly #entries: LRUCache<string, Entry>
  readonly #named: (names: readonly string[]) => void
  /** True while `#entries` has all volumes that the registry had when it was last listed. */
  #complete = false

  constructor(options: VolumeCacheOptions) {
    this.#registry = options.registry
    this.#named = options.named ?? (() => undefined)
    this.#entries = new LRUCache<string, Entry>({
      max: options.max ?? DEFAULT_MAX,
      dispose: (_value, _key, reason) => {
        if (reason === 'evict') this.#complete = false
      },
    })
  }

  /** Keeps the cache fresh by the registry's changes until `signal` aborts. */
  follow(signal: AbortSignal): void {
    const refresh = async (name: string | null) => {
      try {
        if (name === null) await this.list()
        else await this.get(name)
      } catch {
        // The next read reports the failure to its caller; this one was only in advance.
      }
    }
    this.#registry.watch((name) => void refresh(name), signal)
  }

  /**
   * Reads a volume's record. `stale`: the registry did not reply, and this is the last known record.
   * `entry` is null only when the registry itself just said so.
   * Rejects REGISTRY_UNAVAILABLE for a volume that was never known.
   */
  async get(name: string): Promise<{ entry: Entry | null; stale: boolean }> {
    try {
      const entry = await this.#registry.volume(name)
      if (entry === null) this.forget(name)
      else this.note(entry)
      return { entry, stale: false }
    } catch (error) {
      const known = this.#entries.get(name)
      if (codeOf(error) !== 'REGISTRY_UNAVAILABLE' || known === undefined) throw error
      return { entry: known, stale: true }
    }
  }

  /** Reads all records; `stale` as with `get`. Rejects REGISTRY_UNAVAILABLE when the whole list was never known. */
  async list(): Promise<{ entries: Entry[]; stale: boolean }> {
    try {
      const entries = await this.#registry.volumes()
      this.#replace(entries)
      return { entries, stale: false }
    } catch (error) {
      if (codeOf(error) !== 'REGISTRY_UNAVAILABLE' || !this.#complete) throw error
      return { entries: [...this.#entries.values()], stale: true }
    }
  }

  /** Takes in a record that was read or written elsewhere; ignores one older than the known. */
  note(entry: Entry): void {
    const known = this.#entries.peek(entry.value.name)
    this.#take(entry)
    if (isThere(known) !== isThere(entry)) this.#tellNames()
  }

  /** Drops a volume that the registry no longer has. */
  forget(name: string): void {
    if (this.#entries.delete(name)) this.#tellNames()
  }

  #take(entry: Entry): void {
    const known = this.#entries.peek(entry.value.name)
    if (known === undefined || known.revision < entry.revision) this.#entries.set(entry.value.name, entry)
  }

  #tellNames(): void {
    if (!this.#complete) return
    this.#named([...this.#entries.values()].flatMap((entry) => (isThere(entry) ? [entry.value.name] : [])).toSorted())
  }

  #replace(entries: readonly Entry[]): void {
    const names = new Set(entries.map((entry) => entry.value.name))
    for (const name of [...this.#entries.keys()]) {
      if (!names.has(name)) this.#entries.delete(name)
    }
    this.#complete = true
    for (const entry of entries) this.#take(entry)
    this.#tellNames()
  }
}

function isThere(entry: Entry | undefined): boolean {
  return entry !== undefined && entry.value.removedAt === null
}
