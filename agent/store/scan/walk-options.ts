import type { UnchangedSubtrees } from '../changes/unchanged-subtrees.ts'
import type { BytePath } from '../manifest/byte-path.ts'
import type { TreeLimits } from '../manifest/format.ts'
import type { KnownTrees, SavedTree } from '../snapshot/saved-snapshot.ts'
import type { KnownContent } from '../snapshot/snapshot-builder.ts'
import type { FileChanges, Touched } from '../tracker/contract.ts'
import type { BlockPool } from '../workers/contract.ts'
import type { AuditLimits } from './audit-blocks.ts'
import type { BlockSink, ContentSink } from './content-sink.ts'

/** How to walk a tree, see scanTree. */
export interface WalkOptions {
  /** The volume's name, for messages. */
  readonly volume: string
  /**
   * True: any entry that changes or vanishes meanwhile rejects TREE_CHANGED.
   * False: it is left out or inexact, and not clean.
   */
  readonly quiet: boolean
  /** T of the syncfs-and-T rule: ctimes from here on may still hide a store. */
  readonly tickNs: bigint
  /** The saved trees; entries that are proven unchanged since are taken over from there. */
  readonly known: KnownTrees | null
  readonly pool: BlockPool
  readonly signal: AbortSignal
  readonly content?: (path: BytePath, ino: bigint, sizeBytes: number) => KnownContent | undefined
  /** What changed in a large file since a saved tree has it; null: not known. */
  readonly changes?: ((tree: SavedTree, ino: bigint) => FileChanges) | undefined
  /**
   * Which inodes may have changed in any way since a saved tree was exact; null: not known.
   * A small file that was written to is read, whatever its ctime says.
   */
  readonly touched?: ((tree: SavedTree) => Touched | null) | undefined
  /** Whether reads are to be exact as of the mark before the sync: the pages of each file are cleaned first. */
  readonly marked?: boolean | undefined
  /** Parts of `known.live` that need not be scanned. */
  readonly unchanged?: UnchangedSubtrees | null | undefined
  /** Only with `quiet`: copies what is read, or clones it to be read later. */
  readonly contentSink?: ContentSink | null
  /** Copies the blocks of large files that were written to; without it they are only hashed. */
  readonly blockSink?: BlockSink | undefined
  /** For tests: other limits than TREE_LIMITS. */
  readonly limits?: TreeLimits
  /** See Scan.suspects; without it nothing is audited. */
  readonly audit?: AuditLimits
}
