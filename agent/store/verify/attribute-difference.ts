import { NS_PER_SECOND } from '../../sys/stat.ts'
import type { Attributes } from '../manifest/entry.ts'

/**
 * Returns how two sets of attributes differ, for operators: as they are, and as they should be.
 * Null: they differ in extended attributes only.
 */
export function attributeDifference(should: Attributes, is: Attributes): string | null {
  const plain = ({ mode, uid, gid, mtimeNs }: Attributes) => [
    `mode ${mode.toString(8)}`,
    `owner ${uid}:${gid}`,
    `time ${timeOf(mtimeNs)}`,
  ]
  const [wanted, found] = [plain(should), plain(is)]
  const differing = found.flatMap((one, index) => (one === wanted[index] ? [] : [`${one}, was ${wanted[index]}`]))
  return differing.length === 0 ? null : differing.join('; ')
}

/** Formats a time as touch(1) takes it. */
function timeOf(ns: bigint): string {
  const rest = ((ns % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND
  return `@${(ns - rest) / NS_PER_SECOND}.${String(rest).padStart(9, '0')}`
}
