/** A program's version as three numbers, compared number by number. */
export type Version = readonly [number, number, number]

/** The first version with all fixes for lost updates at three replicas (seen on 2.9.10, not on 2.10.27). */
export const OLDEST_FOR_REPLICAS: Version = [2, 10, 23]

/** The first version that knows `sync_interval: always`. Older servers exit on the unknown key. */
export const OLDEST_WITH_SYNC_INTERVAL: Version = [2, 10, 0]

/** Parses the first `1.2.3` in a text such as "nats-server: v2.15.1"; null: there is none. */
export function parseVersion(text: string): Version | null {
  const match = /(\d+)\.(\d+)\.(\d+)/.exec(text)
  return match ? [Number(match[1]), Number(match[2]), Number(match[3])] : null
}

export function isOlder(version: Version, than: Version): boolean {
  for (const i of [0, 1, 2] as const) {
    if (version[i] !== than[i]) return version[i] < than[i]
  }
  return false
}
