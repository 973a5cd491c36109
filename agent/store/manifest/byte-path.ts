/**
 * A path within a tree: bytes, not text, as a string with one character per byte (latin1).
 * Strings compare, hash and slice well. They become Buffers again at the calls to the kernel.
 */
export type BytePath = string

/** NAME_MAX of linux/limits.h. */
export const MAX_NAME_BYTES = 255
/** Real trees have below 100 levels; what costs time by level (paths, openings) stays cheap up to here. */
export const MAX_DEPTH = 4096
/** Characters of the beginning and of the end of a path in messages. */
const SHOWN_CHARS = [100, 150] as const

export function joinPath(parent: BytePath, name: BytePath): BytePath {
  return parent === '' ? name : `${parent}/${name}`
}

/** Returns the parent of a path; the root ('') is its own parent. */
export function parentOf(path: BytePath): BytePath {
  return path.slice(0, Math.max(path.lastIndexOf('/'), 0))
}

export function nameOf(path: BytePath): BytePath {
  return path.slice(path.lastIndexOf('/') + 1)
}

/**
 * Returns a path for operators: UTF-8 where it is, quoted, control characters escaped, a long one without its
 * middle.
 */
export function printable(path: BytePath): string {
  if (path === '') return 'the root directory'
  const [first, last] = SHOWN_CHARS
  const isLong = path.length > first + last
  const shown = isLong ? `${path.slice(0, first)} ... ${path.slice(-last)}` : path
  return JSON.stringify(Buffer.from(shown, 'latin1').toString())
}
