import type { VolumeRecord } from '../../model/model.ts'

/** How many bytes of copies that are being made are on their way to each host. */
export class ComingBytes {
  readonly #byHost = new Map<string, number>()
  /** What each volume adds, by its name. */
  readonly #byVolume = new Map<string, { readonly hosts: readonly string[]; readonly bytes: number }>()

  /** Counts a volume as its record is now; null: it is gone. */
  note(name: string, record: VolumeRecord | null): void {
    const before = this.#byVolume.get(name)
    for (const host of before?.hosts ?? []) this.#add(host, -(before?.bytes ?? 0))
    this.#byVolume.delete(name)
    const bytes = record?.last?.bytes ?? 0
    const hosts = Object.entries(record?.copies ?? {}).flatMap(([host, copy]) =>
      copy.state === 'filling' && copy.kept ? [host] : [],
    )
    if (bytes === 0 || hosts.length === 0) return
    this.#byVolume.set(name, { hosts, bytes })
    for (const host of hosts) this.#add(host, bytes)
  }

  of(host: string): number {
    return this.#byHost.get(host) ?? 0
  }

  /** Forgets all volumes but these. */
  keep(names: ReadonlySet<string>): void {
    for (const name of this.#byVolume.keys()) if (!names.has(name)) this.note(name, null)
  }

  #add(host: string, bytes: number): void {
    this.#byHost.set(host, this.of(host) + bytes)
  }
}
