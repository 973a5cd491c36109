/**
 * Paths within a tree are bytes, not text. Here they are strings with one character per byte (latin1), because strings
 * compare, hash and slice well; they become Buffers again where they meet the kernel.
 */
export type BytePath = string

/** NAME_MAX of linux/limits.h. */
export const MAX_NAME_BYTES = 255
/** One descriptor is held per level; real trees are below 100 levels, the usual limit is 1,024 descriptors. */
export const MAX_DEPTH = 256

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

/** A path for a person: UTF-8 where it is, quoted, control characters escaped. */
export function printable(path: BytePath): string {
  return path === '' ? 'the root directory' : JSON.stringify(Buffer.from(path, 'latin1').toString())
}
