import { WherryError } from '../../../agent/model/errors.ts'
import type { HostRecord, RemovedRecord, VolumeRecord } from '../../../agent/model/model.ts'
import type { Registry, Versioned, Write } from '../../../agent/registry/contract.ts'

class Table<T> {
  readonly entries = new Map<string, Versioned<T>>()
  #revision = 0

  write(key: string, value: T, expected: number | null): Write<T> {
    const current = this.entries.get(key)
    if ((current?.revision ?? null) !== expected) return { outcome: 'refused' }
    const entry = { value, revision: ++this.#revision }
    this.entries.set(key, entry)
    return { outcome: 'done', entry }
  }

  remove(key: string, expected: number): Write<null> {
    if (this.entries.get(key)?.revision !== expected) return { outcome: 'refused' }
    this.entries.delete(key)
    return { outcome: 'done', entry: { value: null, revision: ++this.#revision } }
  }
}

/** One registry for all hosts of a test, with the compare-and-set of the real one. */
export class MemoryRegistry implements Registry {
  /** While true every call fails as if no server could be reached. */
  away = false
  /** Called before each volume write; may throw, as a host that dies there does. */
  beforeWrite: (record: VolumeRecord) => void = () => undefined
  /** Called after each volume write took effect; may throw: the answer is then lost. */
  afterWrite: (record: VolumeRecord) => void = () => undefined
  readonly #volumes = new Table<VolumeRecord>()
  readonly #removed = new Table<RemovedRecord>()
  readonly #hosts = new Table<HostRecord>()
  readonly #wakes = new Set<(name: string | null) => void>()

  async volume(name: string) {
    this.#check()
    return this.#volumes.entries.get(name) ?? null
  }

  async volumes() {
    this.#check()
    return [...this.#volumes.entries.values()]
  }

  async addVolume(record: VolumeRecord) {
    this.#check()
    return this.#answered(record, this.#woken(record.name, this.#volumes.write(record.name, record, null)))
  }

  async updateVolume(record: VolumeRecord, revision: number): Promise<Write<VolumeRecord>> {
    this.#check()
    this.beforeWrite(record)
    return this.#answered(record, this.#woken(record.name, this.#volumes.write(record.name, record, revision)))
  }

  #answered(record: VolumeRecord, write: Write<VolumeRecord>): Write<VolumeRecord> {
    try {
      this.afterWrite(record)
      return write
    } catch (error) {
      return { outcome: 'unknown', cause: error as Error }
    }
  }

  async deleteVolume(name: string, revision: number) {
    this.#check()
    return this.#woken(name, this.#volumes.remove(name, revision))
  }

  async removed() {
    this.#check()
    return [...this.#removed.entries.values()]
  }

  async addRemoved(record: RemovedRecord) {
    this.#check()
    return this.#woken(null, this.#removed.write(record.id, record, null))
  }

  async updateRemoved(record: RemovedRecord, revision: number) {
    this.#check()
    return this.#removed.write(record.id, record, revision)
  }

  async deleteRemoved(id: string, revision: number) {
    this.#check()
    return this.#removed.remove(id, revision)
  }

  /** All heartbeats are gone, as in a registry that was lost. */
  forgetHosts(): void {
    this.#hosts.entries.clear()
  }

  async hosts() {
    this.#check()
    return [...this.#hosts.entries.values()]
  }

  async addHost(record: HostRecord) {
    this.#check()
    return this.#hosts.write(record.id, record, null)
  }

  async updateHost(record: HostRecord, revision: number) {
    this.#check()
    return this.#hosts.write(record.id, record, revision)
  }

  watch(wake: (name: string | null) => void, signal: AbortSignal): void {
    this.#wakes.add(wake)
    signal.addEventListener('abort', () => this.#wakes.delete(wake))
  }

  #woken<T>(name: string | null, write: Write<T>): Write<T> {
    for (const wake of this.#wakes) queueMicrotask(() => wake(name))
    return write
  }

  #check(): void {
    if (this.away) throw new WherryError('REGISTRY_UNAVAILABLE', 'The registry is away.')
  }
}
