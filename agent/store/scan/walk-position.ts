import type { State } from '../inode/inode.ts'
import type { HeldDirectory } from '../inode/levels.ts'
import type { BytePath } from '../manifest/byte-path.ts'

/** Where the walk is: a directory with those of its files that wait for being read together. */
export interface Place {
  /** Another one when it was closed and opened again, which it is not while somebody works in it. */
  held: HeldDirectory
  readonly path: BytePath
  batch: Unread[]
  batchBytes: number
}

/** A file that is in the snapshot and lacks its content's hash. */
export interface Unread {
  readonly index: number
  readonly name: BytePath
  /** As it was when it was described. */
  readonly state: State
}
