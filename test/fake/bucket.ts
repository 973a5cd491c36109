/** One value of a key, at the revision at which it was written. */
export interface BucketVersion<T> {
  readonly revision: number
  readonly atMs: number
  readonly value: T
}

/** One bucket of the registry: every version of every key, compare-and-set by revision. A null value is a deletion. */
export class FakeBucket {
  revision = 0
  #versions = new Map<string, BucketVersion<unknown>[]>()
  readonly #nowMs: () => number

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs
  }

  /** A key as it was at `revision`; null: it was not there. */
  read<T>(key: string, revision: number): BucketVersion<T> | null {
    const versions = this.#versions.get(key) ?? []
    for (let at = versions.length - 1; at >= 0; at--) {
      const version = versions[at] as BucketVersion<T | null>
      if (version.revision <= revision) return version.value === null ? null : (version as BucketVersion<T>)
    }
    return null
  }

  readAll<T>(revision: number): BucketVersion<T>[] {
    const found: BucketVersion<T>[] = []
    for (const key of this.#versions.keys()) {
      const version = this.read<T>(key, revision)
      if (version !== null) found.push(version)
    }
    return found
  }

  /** The newest version of each key as of `revision`, removed ones with value null, oldest first. */
  newest(revision: number): { key: string; revision: number; value: unknown }[] {
    const found = [...this.#versions].flatMap(([key, versions]) => {
      const version = versions.findLast((one) => one.revision <= revision)
      return version === undefined ? [] : [{ key, revision: version.revision, value: version.value }]
    })
    return found.sort((a, b) => a.revision - b.revision)
  }

  /** Returns the new revision; null: the key is not at `expected` (null: not there). */
  write(key: string, value: unknown, expected: number | null): number | null {
    const current = this.read(key, this.revision)
    if ((current?.revision ?? null) !== expected) return null
    const revision = ++this.revision
    const versions = this.#versions.get(key)
    const version = { revision, atMs: this.#nowMs(), value }
    if (versions === undefined) this.#versions.set(key, [version])
    else versions.push(version)
    return revision
  }

  /** Forgets everything written since then, and counts on from there. The first version of a key stays. */
  setBack(toMs: number): void {
    for (const versions of this.#versions.values()) {
      while (versions.length > 1 && (versions.at(-1)?.atMs ?? 0) > toMs) versions.pop()
    }
    const kept = [...this.#versions.values()].flatMap((versions) => versions.map(({ revision }) => revision))
    this.revision = Math.max(0, ...kept)
  }

  /** An empty bucket takes its place; returns what puts this one back. */
  exchange(): () => void {
    const [revision, versions] = [this.revision, this.#versions]
    this.#versions = new Map()
    this.revision = 0
    return () => {
      this.revision = revision
      this.#versions = versions
    }
  }

  /** Everything is gone, and revisions begin anew. */
  wipe(): void {
    this.#versions.clear()
    this.revision = 0
  }
}
