import { setTimeout as sleep } from 'node:timers/promises'
import type { TreeChanges } from '../changes/tree-changes.ts'
import type { SavedTree } from '../snapshot/saved-snapshot.ts'
import type { Suspect } from './audit-blocks.ts'
import { changesMissed } from './errors.ts'
import type { Scan } from './scan.ts'

/** Longer than a program that can run waits for a processor. */
const LATE_EVENT_MS = 2_000

/**
 * Rejects CHANGES_MISSED when a suspect of the audit has no write that explains it.
 * A suspect is explained when it was written to after its changes were queried.
 */
export async function judgeAudit(scan: Scan, changes: TreeChanges, volume: string): Promise<void> {
  if (unexplained(scan, changes) === undefined) return
  // A write(2) is visible before the kernel reports it, and its program may not have had the processor since.
  await sleep(LATE_EVENT_MS)
  const suspect = unexplained(scan, changes)
  if (suspect !== undefined) throw changesMissed(volume, suspect)
}

function unexplained(scan: Scan, changes: TreeChanges): Suspect | undefined {
  if (scan.suspects.length === 0) return undefined
  changes.gather()
  const touched = changes.touched(scan)
  const wasWritten = (ino: bigint) => touched?.wasWritten(...halves(ino)) ?? false
  const isTouched = (ino: bigint, since: SavedTree) => changes.touched(since)?.has(...halves(ino)) ?? true
  // For a file without known blocks the ctime decides: that of an untouched one says that there was no change.
  const isExplained = (suspect: Suspect) =>
    suspect.since === undefined
      ? (changes.isWritten(scan, suspect.ino, suspect) ?? (!suspect.untouched || wasWritten(suspect.ino)))
      : isTouched(suspect.ino, suspect.since)
  return scan.suspects.find((suspect) => !isExplained(suspect))
}

/** Splits an inode's number as Touched takes it. */
function halves(ino: bigint): [number, number] {
  return [Number(ino & 0xffff_ffffn), Number(ino >> 32n)]
}
