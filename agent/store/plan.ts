import type { Entry, FileEntry, InodeEntry } from './entry.ts'
import type { Manifest } from './manifest.ts'
import type { BytePath } from './path.ts'
import type { Scan } from './scan.ts'

/** Content that must come from the stage: the first file that has it, and at how many paths it is wanted. */
export interface Wanted {
  readonly index: number
  readonly entry: FileEntry
  uses: number
}

/** What stands between a tree and a manifest. */
export interface Plan {
  /** Paths whose inode stays: kind and content are right, only attributes may differ. With the inode as it is now. */
  readonly kept: ReadonlyMap<BytePath, { readonly ino: bigint; readonly entry: InodeEntry }>
  /** By content hash. */
  readonly wanted: ReadonlyMap<string, Wanted>
  /** A path in the tree for each content that is there, by content hash. */
  readonly sources: ReadonlyMap<string, BytePath>
}

interface Present {
  readonly ino: bigint
  readonly entry: InodeEntry
}

/** Compares the tree as it was scanned with the manifest it is to become. Pure. */
export function planChanges(target: Manifest, tree: Scan): Plan {
  const { present, sources } = indexTree(tree)
  const kept = new Map<BytePath, Present>()
  const wanted = new Map<string, Wanted>()
  // An inode can stand for one entry only: names that share one by chance or history get inodes of their own.
  const taken = new Set<bigint>()
  for (const [index, entry] of target.entries.entries()) {
    const found = present.get(entry.path)
    if (entry.kind === 'link') {
      if (found !== undefined && kept.get(entry.to)?.ino === found.ino) kept.set(entry.path, found)
    } else if (found !== undefined && sameContent(found.entry, entry) && !taken.has(found.ino)) {
      taken.add(found.ino)
      kept.set(entry.path, found)
    } else if (entry.kind === 'file') {
      const known = wanted.get(entry.hash)
      if (known === undefined) wanted.set(entry.hash, { index, entry, uses: 1 })
      else known.uses += 1
    }
  }
  return { kept, wanted, sources }
}

function indexTree(tree: Scan): { present: Map<BytePath, Present>; sources: Map<string, BytePath> } {
  const present = new Map<BytePath, Present>()
  const sources = new Map<string, BytePath>()
  for (const [index, entry] of tree.entries.entries()) {
    const known = entry.kind === 'link' ? present.get(entry.to) : inode(entry, tree, index)
    if (known === undefined) continue
    present.set(entry.path, known)
    if (entry.kind === 'file') sources.set(entry.hash, entry.path)
  }
  return { present, sources }
}

function inode(entry: Exclude<Entry, { kind: 'link' }>, tree: Scan, index: number): Present | undefined {
  const seen = tree.seen[index]
  return seen ? { ino: seen.ino, entry } : undefined
}

/** Says whether an inode can stay and only needs its attributes set. */
function sameContent(a: InodeEntry, b: InodeEntry): boolean {
  if (a.kind === 'file') return b.kind === 'file' && a.hash === b.hash && a.sizeBytes === b.sizeBytes
  if (a.kind === 'symlink') return b.kind === 'symlink' && a.target === b.target
  if (a.kind === 'char' || a.kind === 'block') return b.kind === a.kind && a.major === b.major && a.minor === b.minor
  return a.kind === b.kind
}
