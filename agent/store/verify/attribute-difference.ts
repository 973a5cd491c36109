import type { Attributes } from '../manifest/entry.ts'

const NS_PER_SECOND = 1_000_000_000n

/** How two sets of attributes differ, for a person: as they are, and as they should be. Null: in none of the plain ones. */
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

/** As touch(1) takes it. */
function timeOf(ns: bigint): string {
  const rest = ((ns % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND
  return `@${(ns - rest) / NS_PER_SECOND}.${String(rest).padStart(9, '0')}`
}
