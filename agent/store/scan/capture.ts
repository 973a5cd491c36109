import { closeSync } from 'node:fs'
import type { FaultPoint } from '../../runtime/fault-point.ts'
import type { TreeChanges } from '../changes/tree-changes.ts'
import type { Capture } from '../contract.ts'
import { orDiskFull } from '../disk/free-space.ts'
import type { Layout } from '../disk/layout.ts'
import { openRoot } from '../inode/directory.ts'
import {
  dropKept,
  type KeptKind,
  type KeptTree,
  type Known,
  keepBase,
  loadKnown,
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
  /** Syncs the file system of the tree; answers T, see tick.ts. */
  readonly sync: () => Promise<bigint>
  /** Of a volume in use: what is known of its changes. */
  readonly changes?: TreeChanges
  readonly faultPoint: FaultPoint
}

/**
 * Looks at a tree and keeps what was seen, durably, see Store.capture. `checkpoint` is the hash of the copy's
 * checkpoint, null: it has none. The tree of that checkpoint stays known until the record names another one.
 */
export async function captureTree(
  parts: CaptureParts,
  kind: 'quiet' | 'live',
  checkpoint: string | null,
  signal: AbortSignal,
): Promise<Capture> {
  const { layout, faultPoint, changes } = parts
  const { scan, known, mark } = await look(parts, kind === 'quiet', signal)
  faultPoint('scanned')
  const { hash, bytes, files } = scan.manifest
  if (kind === 'quiet' && hash !== checkpoint && known.last?.manifest.hash === checkpoint)
    await orDiskFull(layout.directory, parts.volume, () => keepBase(layout.directory, faultPoint))
  // A live look that was cut off is kept too: the capture that follows need not read again what it has read.
  await keep(parts, kind === 'quiet' ? 'last' : 'live', knownAs(scan, known), known)
  faultPoint('captured')
  if (kind === 'quiet') await dropKept(layout.directory, 'live')
  if (kind === 'quiet' && hash === checkpoint) await dropKept(layout.directory, 'base')
  faultPoint('live-dropped')
  if (!scan.complete) throw signal.reason
  if (kind === 'quiet') {
    changes?.knowLast(scan, mark)
    changes?.watch(scan)
  }
  return { hash, bytes, files, filesRead: scan.filesRead, bytesRead: scan.bytesRead }
}

/** Looks at a tree that nobody should be changing, and keeps what was seen so that the next look reads nothing again. */
export async function lookAtTree(parts: CaptureParts, signal: AbortSignal): Promise<KeptTree> {
  // A copy that is about to take in a checkpoint: nobody uses it, and what is known of its changes ends with that.
  const { changes: _, ...untracked } = parts
  const { scan, known } = await look(untracked, false, signal)
  if (!scan.complete) throw signal.reason
  const tree = knownAs(scan, known)
  if (tree === scan) await keep(parts, 'live', scan, known)
  return tree
}

async function look(
  { layout, volume, pool, sync, changes }: CaptureParts,
  quiet: boolean,
  signal: AbortSignal,
): Promise<{ scan: Scan; known: Known; mark: Cursor }> {
  const known = await loadKnown(layout.directory)
  // Whoever uses the volume next writes from then on: what changes is known from the beginning.
  if (known.last !== null) changes?.watch(known.last)
  const mark = (await changes?.mark(!quiet)) ?? 0
  const tickNs = await orDiskFull(layout.directory, volume, sync)
  changes?.gather()
  const root = openRoot(layout.data)
  try {
    const lists = scannedListsPath(layout.directory)
    const changed = (tree: KeptTree, ino: bigint) => changes?.of(tree, ino) ?? null
    const touched = (tree: KeptTree) => changes?.touched(tree) ?? null
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

async function keep(parts: CaptureParts, kind: KeptKind, tree: KeptTree, known: Known): Promise<void> {
  const { directory } = parts.layout
  await orDiskFull(directory, parts.volume, () => saveSnapshot(directory, kind, tree, known, parts.faultPoint))
}

/** A scan that found nothing new is the kept snapshot: it need not be written again. */
function knownAs(scan: Scan, known: Known): KeptTree {
  return [known.live, known.last].find((tree) => tree?.manifest === scan.manifest) ?? scan
}
