import { printable } from '../manifest/byte-path.ts'
import { firstDifference } from '../manifest/comparison.ts'
import { loadCheckpoint, loadLast } from '../snapshot/saved-snapshot.ts'

/**
 * Returns the first path, for operators, at which the last scanned tree differs from the checkpoint with this hash.
 */
export async function firstChange(directory: string, hash: string): Promise<string> {
  const [checkpoint, last] = [await loadCheckpoint(directory, hash), await loadLast(directory)]
  const path = checkpoint === null || last === null ? null : firstDifference(checkpoint.manifest, last.manifest)
  return path === null ? 'the tree' : printable(path)
}
