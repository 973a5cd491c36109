import { LRUCache } from 'lru-cache'
import { codeOf } from '../model/errors.ts'
import type { VolumeRecord } from '../model/model.ts'
import type { RecordChange, Registry, Versioned } from './contract.ts'

/** Ten thousand records are a few megabytes, and more volumes than a cluster has. */
const DEFAULT_MAX = 10_000

type Entry = Versioned<VolumeRecord>

export interface VolumeCacheOptions {
  readonly registry: Pick<Registry, 'volume' | 'volumes' | 'followedVolumes' | 'watch'>
  /** Most records kept. */
  readonly max?: number
  /** Called with the sorted names of all volumes when they have changed. */
  readonly named?: (names: readonly string[]) => void
  /** Names of volumes whose records could not be read the last time: they exist all the same. */
  readonly unreadable?: () => readonly string[]
}

/**
 * The last known volume records, for Docker's Get, Path and List while the registry cannot be reached.
 * A known volume is never "not found" then: dockerd would forget the volume's metadata (promise 10).
 * No decision is based on this cache.
 */
export class VolumeCache {
  readonly #registry: VolumeCacheOptions['registry']
  readonly #entries: LRUCache<string, Entry>
  readonly #named: (names: readonly string[]) => void
  readonly #unreadable: () => readonly string[]
  /** True while `#entries` has all volumes that the registry had when it was last listed. */
  #complete = false

  constructor(options: VolumeCacheOptions) {
    this.#registry = options.registry
    this.#named = options.named ?? (() => undefined)
    this.#unreadable = options.unreadable ?? (() => [])
    this.#entries = new LRUCache<string, Entry>({
      max: options.max ?? DEFAULT_MAX,
      dispose: (_value, _key, reason) => {
        if (reason === 'evict') this.#complete = false
      },
    })
  }

  /** Keeps the cache fresh by the registry's changes until `signal` aborts. */
  follow(signal: AbortSignal): void {
    const change = async (one: RecordChange | null) => {
      if (one === null) await this.#refresh()
      else if (one.entry === null) this.forget(one.name)
      else if (one.entry !== undefined) this.note(one.entry)
    }
    this.#registry.watch((one) => void change(one), signal)
  }

  /**
   * Reads a volume's record. `stale`: the registry did not reply and this is the last known record.
   * `entry` is null only if the registry itself said so now. REGISTRY_UNAVAILABLE: no reply, and never known.
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

  /** Reads all records; `stale` as in `get`. REGISTRY_UNAVAILABLE: no reply, and never listed completely. */
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

  /** Adds a record that was read or written elsewhere, unless a newer one is known. */
  note(entry: Entry): void {
    const known = this.#entries.peek(entry.value.name)
    this.#take(entry)
    if (exists(known) !== exists(entry)) this.#reportNames()
  }

  /** Drops a volume that the registry no longer has. */
  forget(name: string): void {
    if (this.#entries.delete(name)) this.#reportNames()
  }

  /** Takes over what was followed, whatever is known: another registry may be in the place of a lost one. */
  async #refresh(): Promise<void> {
    // The next read reports the error to its caller.
    const followed = await this.#registry.followedVolumes().catch(() => null)
    if (followed === null) return
    this.#entries.clear()
    this.#replace(followed)
  }

  #take(entry: Entry): void {
    const known = this.#entries.peek(entry.value.name)
    if (known === undefined || known.revision < entry.revision) this.#entries.set(entry.value.name, entry)
  }

  #reportNames(): void {
    if (!this.#complete) return
    const read = [...this.#entries.values()].flatMap((entry) => (exists(entry) ? [entry.value.name] : []))
    this.#named([...new Set([...read, ...this.#unreadable()])].toSorted())
  }

  #replace(entries: readonly Entry[]): void {
    const names = new Set(entries.map((entry) => entry.value.name))
    for (const name of [...this.#entries.keys()]) {
      if (!names.has(name)) this.#entries.delete(name)
    }
    this.#complete = true
    for (const entry of entries) this.#take(entry)
    this.#reportNames()
  }
}

function exists(entry: Entry | undefined): boolean {
  return entry !== undefined && entry.value.removedAt === null
}
