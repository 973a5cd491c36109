/**
 * The heartbeat carries no more bytes of a list: it is written every second, and all hosts get it.
 * All lists together stay far below what NATS takes in one message (1 MiB unless set otherwise).
 */
const LIST_MOST_BYTES = 48 * 1024

/**
 * Returns the first entries of a list by their keys, as many as the heartbeat carries.
 * What is left out is not known to other hosts: they show less, and decide nothing by it. The same entries are left
 * out each time, in whatever order they come.
 */
export function boundList<T>(entries: readonly (readonly [string, T])[]): Record<string, T> {
  const fitting = countFitting(entries)
  if (fitting === entries.length) return Object.fromEntries(entries)
  const sorted = entries.toSorted(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(sorted.slice(0, countFitting(sorted)))
}

function countFitting(entries: readonly (readonly [string, unknown])[]): number {
  let bytes = 0
  const first = entries.findIndex((entry) => {
    bytes += Buffer.byteLength(JSON.stringify(entry))
    return bytes > LIST_MOST_BYTES
  })
  return first === -1 ? entries.length : first
}

/** Returns a list that is of use as a whole only; undefined: it is too long for the heartbeat. */
export function wholeList<T>(list: Readonly<Record<string, T>> | undefined): typeof list {
  return Buffer.byteLength(JSON.stringify(list ?? {})) > LIST_MOST_BYTES ? undefined : list
}
