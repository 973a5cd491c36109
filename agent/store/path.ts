/**
 * Paths within a tree are bytes, not text. Here they are strings with one character per byte (latin1), because strings
 * compare, hash and slice well; they become Buffers again where they meet the kernel.
 */
export type BytePath = string

/** NAME_MAX of linux/limits.h. */
export const MAX_NAME_BYTES = 255
/** Deeper than PATH_MAX is legal through directory descriptors; this is 16 times as long and bounds a manifest's line. */
export const MAX_PATH_BYTES = 65_536
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

/** Orders by components, each by its bytes: a directory, then all that is in it, then its next sibling. */
export function comesBefore(a: BytePath, b: BytePath): boolean {
  return a.replaceAll('/', '\0') < b.replaceAll('/', '\0')
}

/** Why a path from outside is not one of a tree's paths; null when it is. */
export function pathFault(path: BytePath): string | null {
  if (path === '') return null
  if (path.length > MAX_PATH_BYTES) return 'path too long'
  // biome-ignore lint/suspicious/noControlCharactersInRegex: every byte but NUL may stand in a name
  if (!/^[\x01-\xff]*$/.test(path)) return 'NUL or a character that is no byte'
  const names = path.split('/')
  if (names.length > MAX_DEPTH) return 'too deep'
  for (const name of names) {
    if (name === '' || name === '.' || name === '..') return 'empty, "." or ".." as a name'
    if (name.length > MAX_NAME_BYTES) return 'name too long'
  }
  return null
}

/** A path for a person: UTF-8 where it is, quoted, control characters escaped. */
export function printable(path: BytePath): string {
  return path === '' ? 'the root directory' : JSON.stringify(Buffer.from(path, 'latin1').toString())
}
