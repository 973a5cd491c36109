import type { State } from '../inode/inode.ts'
import type { HeldDirectory } from '../inode/levels.ts'
import type { BytePath } from '../manifest/byte-path.ts'

/** Where the walk is: a directory, with those of its files that wait to be read together. */
export interface WalkPosition {
  /** Replaced when it was closed and opened again, but never while work in it is under way. */
  held: HeldDirectory
  readonly path: BytePath
  batch: UnreadFile[]
  batchBytes: number
}

/** A file in the snapshot whose content has no hash yet. */
export interface UnreadFile {
  readonly index: number
  readonly name: BytePath
  /** Its state when it was described. */
  readonly state: State
}
