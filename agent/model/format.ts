import { WherryError } from './errors.ts'

/**
 * The newest form of stored records and files that this version reads.
 * It increases when an older version could misread what this one writes (docs/hacking.md, "A change of a format").
 */
export const FORMAT = 1

/**
 * Checks the field `readableFrom` of a stored value: it names the lowest format that a reader must know.
 * A missing one means that every version can read the value. `what` begins the message: "The record of ...".
 * Throws VERSION_SKEW, which names the host and the version that wrote the value (its field `writtenBy`).
 */
export function requireReadable(value: unknown, what: string): void {
  const { readableFrom, writtenBy } = fieldsOf(value)
  if (typeof readableFrom !== 'number' || readableFrom <= FORMAT) return
  const { host, version } = fieldsOf(writtenBy)
  const from = typeof host === 'string' ? `host ${host.slice(0, MOST_CHARS)}` : 'another host'
  const release = typeof version === 'string' ? `Wherry ${version.slice(0, MOST_CHARS)}` : 'a newer Wherry'
  throw new WherryError(
    'VERSION_SKEW',
    `${what} has format ${readableFrom}, and this host reads up to format ${FORMAT}: ${from} wrote it with ${release}.`,
    { hint: `Upgrade this host to ${release}. Until then, use the volume on hosts that run it. Nothing is lost.` },
  )
}

/** A name from outside is not shown at any length. */
const MOST_CHARS = 64

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}
