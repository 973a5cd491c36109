import { FILES_MAX, FILES_MAX_BYTES } from '../tree-contract.ts'
import type { Manifest } from './manifest.ts'

/**
 * Groups small files for one message: at most FILES_MAX and FILES_MAX_BYTES together.
 * Each group has neighbours in tree order with the same directory (and the same `also`).
 */
export function* groupSmallFiles(
  target: Manifest,
  indexes: Iterable<number>,
  also: (index: number) => number = () => 0,
): Generator<number[]> {
  let group: number[] = []
  let [bytes, parent, other] = [0, -1, -1]
  for (const index of indexes) {
    const { sizeBytes } = target.file(index)
    const fits = group.length < FILES_MAX && bytes + sizeBytes <= FILES_MAX_BYTES
    if (group.length > 0 && !(fits && target.parent(index) === parent && also(index) === other)) {
      yield group
      group = []
      bytes = 0
    }
    if (group.length === 0) {
      parent = target.parent(index)
      other = also(index)
    }
    group.push(index)
    bytes += sizeBytes
  }
  if (group.length > 0) yield group
}
