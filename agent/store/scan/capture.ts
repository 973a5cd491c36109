import { closeSync } from 'node:fs'
import type { FaultPoint } from '../../runtime/fault-point.ts'
import type { TreeChanges } from '../changes/tree-changes.ts'
import type { Capture, CaptureMode } from '../contract.ts'
import { orDiskFull } from '../disk/free-space.ts'
import type { Layout } from '../disk/layout.ts'
import { openRoot } from '../inode/directory.ts'
import {
  dropSaved,
  type KnownTrees,
  loadKnown,
  type SavedKind,
  type SavedTree,
  saveBase,
  saveSnapshot,
  scannedListsPath,
} from '../snapshot/saved-snapshot.ts'
import type { Cursor } from '../tracker/contract.ts'
import type { BlockPool } from '../workers/contract.ts'
import { type Scan, scanTree } from './scan.ts'

export interface CaptureParts {
  readonly layout: Layout
  /** The volume's name, for messages. */
  readonly volume: string
  readonly pool: BlockPool
  /** Syncs the file system of the tree; returns T, see fs-clock.ts. */
  readonly sync: () => Promise<bigint>
  /** What is known of the changes to a volume in use. */
  readonly changes?: TreeChanges
  readonly faultPoint: FaultPoint
}

/**
 * Scans a tree and saves the result, durably, see Store.capture.
 * `checkpoint` is the hash of the copy's checkpoint; null: it has none.
 * The tree of that checkpoint stays saved until the record names another one.
 */
export async function captureTree(
  parts: CaptureParts,
  mode: CaptureMode,
  checkpoint: string | null,
  signal: AbortSignal,
): Promise<Capture> {
  const { layout, faultPoint, changes } = parts
  const { scan, known, mark } = await scanCopy(parts, mode === 'quiet', signal)
  faultPoint('scanned')
  const { hash, bytes, files } = scan.manifest
  if (mode === 'quiet' && hash !== checkpoint && known.last?.manifest.hash === checkpoint)
    await orDiskFull(layout.directory, parts.volume, () => saveBase(layout.directory, faultPoint))
  // A live scan that was cut off is saved too: the next capture need not read the same files again.
  await keep(parts, mode === 'quiet' ? 'last' : 'live', knownAs(scan, known), known)
  faultPoint('captured')
  if (mode === 'quiet') await dropSaved(layout.directory, 'live')
  if (mode === 'quiet' && hash === checkpoint) await dropSaved(layout.directory, 'base')
  faultPoint('live-dropped')
  if (!scan.complete) throw signal.reason
  if (mode === 'quiet') {
    changes?.knowLast(scan, mark)
    changes?.watch(scan)
  }
  return { hash, bytes, files, filesRead: scan.filesRead, bytesRead: scan.bytesRead }
}

/** Scans a tree that is not in use, and saves the result so that the next scan reads nothing again. */
export async function scanIdleTree(parts: CaptureParts, signal: AbortSignal): Promise<SavedTree> {
  // The copy is about to receive a checkpoint: it is not in use, and its tracked changes are discarded then.
  const { changes: _, ...untracked } = parts
  const { scan, known } = await scanCopy(untracked, false, signal)
  if (!scan.complete) throw signal.reason
  const tree = knownAs(scan, known)
  if (tree === scan) await keep(parts, 'live', scan, known)
  return tree
}

async function scanCopy(
  { layout, volume, pool, sync, changes }: CaptureParts,
  quiet: boolean,
  signal: AbortSignal,
): Promise<{ scan: Scan; known: KnownTrees; mark: Cursor }> {
  const known = await loadKnown(layout.directory)
  // The next user of the volume writes from now on: its changes are tracked from the beginning.
  if (known.last !== null) changes?.watch(known.last)
  const mark = (await changes?.mark(!quiet)) ?? 0
  const tickNs = await orDiskFull(layout.directory, volume, sync)
  changes?.gather()
  const root = openRoot(layout.data)
  try {
    const lists = scannedListsPath(layout.directory)
    const changed = (tree: SavedTree, ino: bigint) => changes?.of(tree, ino) ?? null
    const touched = (tree: SavedTree) => changes?.touched(tree) ?? null
    const tracked = { changes: changed, touched, marked: mark > 0 }
    return {
      scan: await scanTree(root, { volume, quiet, tickNs, known, pool, signal, lists, ...tracked }),
      known,
      mark,
    }
  } finally {
    closeSync(root)
  }
}

async function keep(parts: CaptureParts, kind: SavedKind, tree: SavedTree, known: KnownTrees): Promise<void> {
  const { directory } = parts.layout
  await orDiskFull(directory, parts.volume, () => saveSnapshot(directory, kind, tree, known, parts.faultPoint))
}

/** Returns the saved tree when the scan found nothing new: it need not be written again. */
function knownAs(scan: Scan, known: KnownTrees): SavedTree {
  return [known.live, known.last].find((tree) => tree?.manifest === scan.manifest) ?? scan
}
