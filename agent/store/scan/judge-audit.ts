import { setTimeout as sleep } from 'node:timers/promises'
import type { TreeChanges } from '../changes/tree-changes.ts'
import type { KeptTree } from '../snapshot/saved-snapshot.ts'
import type { Suspect } from './audit-blocks.ts'
import { changesMissed } from './errors.ts'
import type { Scan } from './scan.ts'

/** Longer than a program that can go on waits for a processor. */
const LATE_EVENT_MS = 2_000

/** What the audit found not as it was has been written to after its changes were asked for, or its change was missed: then it rejects CHANGES_MISSED. */
export async function judge(scan: Scan, changes: TreeChanges, volume: string): Promise<void> {
  if (unexplained(scan, changes) === undefined) return
  // A write(2) is seen before the kernel tells of it, and its program may not have been given the processor since.
  await sleep(LATE_EVENT_MS)
  const suspect = unexplained(scan, changes)
  if (suspect !== undefined) throw changesMissed(volume, suspect)
}

function unexplained(scan: Scan, changes: TreeChanges): Suspect | undefined {
  if (scan.suspects.length === 0) return undefined
  changes.gather()
  const touched = changes.touched(scan)
  const wasWritten = (ino: bigint) => touched?.wasWritten(...halves(ino)) ?? false
  const isTouched = (ino: bigint, since: KeptTree) => changes.touched(since)?.has(...halves(ino)) ?? true
  // Where nothing is known of a file's blocks its ctime has the word; that of an untouched one says that there was no change.
  const isExplained = (suspect: Suspect) =>
    suspect.since === undefined
      ? (changes.isWritten(scan, suspect.ino, suspect) ?? (!suspect.untouched || wasWritten(suspect.ino)))
      : isTouched(suspect.ino, suspect.since)
  return scan.suspects.find((suspect) => !isExplained(suspect))
}

/** As Touched takes an inode's number. */
function halves(ino: bigint): [number, number] {
  return [Number(ino & 0xffff_ffffn), Number(ino >> 32n)]
}
