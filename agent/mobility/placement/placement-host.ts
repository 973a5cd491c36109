/** A disk with a smaller free share gets no new copies: databases and checkpoints need room to grow. */
const FREE_SHARE = 0.1
/** A tenth of a huge disk is more than enough; no more than this is asked for. */
const MOST_FREE_BYTES = 20e9
/**
 * A copy on a disk with less than this part of it cannot take in new writes.
 * Another host gets one, if it can.
 */
const STUCK_PART = 0.5

/** What placement has to know of a host. */
export interface PlacementHost {
  readonly id: string
  readonly zone: string | null
  readonly draining: boolean
  /** Not heard of for longer than the grace time: others replace it. */
  readonly gone: boolean
  readonly freeBytes: number
  /** 0: unknown, and then it gets nothing new. */
  readonly totalBytes: number
  /** Of copies that are being made there and may not be on its disk yet. */
  readonly comingBytes: number
}

/** Whether a disk has too little space for new writes to the copies that it has. */
export function isFull(host: PlacementHost): boolean {
  return host.totalBytes > 0 && host.freeBytes < leastFreeBytes(host) * STUCK_PART
}

/** Whether a host may take a copy at all, however small it is. */
export function hasSpace(host: PlacementHost): boolean {
  return host.totalBytes > 0 && host.freeBytes >= leastFreeBytes(host)
}

/** Returns the free space below which a disk gets no new copies. */
export function leastFreeBytes(host: PlacementHost): number {
  return Math.min(host.totalBytes * FREE_SHARE, MOST_FREE_BYTES)
}
