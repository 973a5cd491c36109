import type { Edit } from './edits.ts'

/** A tree and the edits between its checkpoints, as random-edits.test.ts makes them. */
type Checkpoints = [tree: Edit[], rounds: Edit[][]]

/** Cases that an engine once got wrong, shrunk by fast-check. They are run first, every time. */
export const ONCE_FAILED: readonly Checkpoints[] = [
  // A block of written zeros becomes a hole.
  [[['zeros', 'a/y', 0, 65_536]], []],
]
