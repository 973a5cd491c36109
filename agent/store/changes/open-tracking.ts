import type { Logger } from 'pino'
import { openTracker } from '../tracker/tracker.ts'
import type { Tracking } from './tree-changes.ts'

export interface TrackingOptions {
  readonly stateDir: string
  /** The tracker's BPF program, compiled; null: changes of volumes in use are found by reading alone. */
  readonly trackerObject?: string | null
  /** As in openTracker, for tests. */
  readonly dropEvery?: number
  readonly log: Logger
}

/** Opens the tracker of the state directory's file system; logs once why there is none. */
export function openTracking({ stateDir, trackerObject = null, dropEvery = 0, log }: TrackingOptions): Tracking {
  if (trackerObject === null) return { reason: 'there is no tracker' }
  const tracking = openTracker(stateDir, trackerObject, { dropEvery })
  if ('reason' in tracking)
    log.info({ why: tracking.reason }, 'change tracking unavailable: changed files are read whole')
  return tracking
}
