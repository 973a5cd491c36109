/** How long the marker of a removed key is kept. Every follower has had its chance to see it by then. */
const MARKER_KEPT_MS = 3_600_000

/** Markers dropped at once, so that a long list of them delays nothing else. */
const MARKERS_DROPPED_AT_ONCE = 16

/**
 * Markers of removed keys that this agent wrote, or found when it read every key.
 * Each is deleted once it is old: tombstones have a key for every volume that ever was.
 */
export class RemovalMarkers {
  /** When each was written, on the server's clock, by revision. */
  readonly #writtenMs = new Map<number, number>()

  note(revision: number, writtenMs: number): void {
    this.#writtenMs.set(revision, writtenMs)
  }

  /** Deletes some of the old ones. Never rejects: one that stays is found when every key is read. */
  async drop(remove: (revision: number) => Promise<unknown>): Promise<void> {
    const old = [...this.#writtenMs].filter(([, ms]) => Date.now() - ms > MARKER_KEPT_MS)
    for (const [revision] of old.slice(0, MARKERS_DROPPED_AT_ONCE)) {
      // Another host may have deleted it, or a new value replaced it.
      await remove(revision).catch(() => undefined)
      this.#writtenMs.delete(revision)
    }
  }
}
