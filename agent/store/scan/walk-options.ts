import type { UnchangedSubtrees } from '../changes/unchanged-subtrees.ts'
import type { BytePath } from '../manifest/byte-path.ts'
import type { KeptTree, Known } from '../snapshot/saved-snapshot.ts'
import type { KnownContent } from '../snapshot/snapshot-builder.ts'
import type { FileChanges, Touched } from '../tracker/contract.ts'
import type { BlockPool } from '../workers/contract.ts'
import type { AuditLimits } from './audit-blocks.ts'
import type { BlockSink, ContentSink } from './content-sink.ts'

/** What a walk through a tree is to do, see scanTree. */
export interface WalkOptions {
  /** The volume's name, for messages. */
  readonly volume: string
  /** True: whatever changes or vanishes meanwhile rejects TREE_CHANGED. False: it is left out or fuzzy, and not clean. */
  readonly quiet: boolean
  /** T of the syncfs-and-T rule: ctimes from here on may still hide a store. */
  readonly tickNs: bigint
  /** What is kept of the tree; entries that are proven not to have changed since are taken from there. */
  readonly known: Known | null
  readonly pool: BlockPool
  readonly signal: AbortSignal
  readonly content?: (path: BytePath, ino: bigint, sizeBytes: number) => KnownContent | undefined
  /** What changed in a large file since it was seen as it stands in a kept tree; null: nobody knows. */
  readonly changes?: ((tree: KeptTree, ino: bigint) => FileChanges) | undefined
  /** What may have changed in any way since a kept tree was exact; null: nobody knows. A small file that was written to is read, whatever its ctime says. */
  readonly touched?: ((tree: KeptTree) => Touched | null) | undefined
  /** Whether what is read is to be exact as of the mark before the sync: each file that is read has its pages cleaned first. */
  readonly marked?: boolean | undefined
  /** Parts of `known.live` that need not be looked at. */
  readonly still?: UnchangedSubtrees | null | undefined
  /** Only with `quiet`: what is read is kept, or left to be read later. */
  readonly keeping?: ContentSink | null
  /** Keeps the blocks of large files that are known to have been written to; without it they are only hashed. */
  readonly keepingBlocks?: BlockSink | undefined
  /** See Scan.suspects; without it nothing is audited. */
  readonly audit?: AuditLimits
}
