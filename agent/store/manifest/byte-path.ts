/**
 * Paths within a tree are bytes, not text. Here they are strings with one character per byte (latin1), because strings
 * compare, hash and slice well; they become Buffers again where they meet the kernel.
 */
export type BytePath = string

/** NAME_MAX of linux/limits.h. */
export const MAX_NAME_BYTES = 255
/** Real trees are below 100 levels; what goes by the levels (paths, ways to directories) stays cheap up to here. */
export const MAX_DEPTH = 4096
/** The beginning and the end of a path that a person is shown. */
const SHOWN_CHARS = [100, 150] as const

export function joinPath(parent: BytePath, name: BytePath): BytePath {
  return parent === '' ? name : `${parent}/${name}`
}

/** Parent of a path; the root ('') is its own parent. */
export function parentOf(path: BytePath): BytePath {
  return path.slice(0, Math.max(path.lastIndexOf('/'), 0))
}

export function nameOf(path: BytePath): BytePath {
  return path.slice(path.lastIndexOf('/') + 1)
}

/** A path for a person: UTF-8 where it is, quoted, control characters escaped, a long one without its middle. */
export function printable(path: BytePath): string {
  if (path === '') return 'the root directory'
  const [first, last] = SHOWN_CHARS
  const isLong = path.length > first + last
  const shown = isLong ? `${path.slice(0, first)} ... ${path.slice(-last)}` : path
  return JSON.stringify(Buffer.from(shown, 'latin1').toString())
}
