import { EMPTY, type Tree } from './tree.ts'

/** What is true of one volume, whoever knows it. */
export class VolumeTruth {
  /** Content as the cluster goes on from: what its rightful holder has written. */
  head: Tree = EMPTY
  /** Every tree that ever was, by hash. */
  readonly trees = new Map<string, Tree>([[EMPTY.hash, EMPTY]])
  /** Newest first: what was once the registry's `last`. */
  readonly committed: Tree[] = []
  /** What was given up by seizures: it has to lie on the old holder's disk until a person removes it. */
  readonly abandoned: { readonly host: string; readonly tree: Tree }[] = []
  lastChangedMs = 0
}
