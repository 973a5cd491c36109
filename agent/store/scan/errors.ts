import { WherryError } from '../../model/errors.ts'
import { type BytePath, printable } from '../manifest/byte-path.ts'
import type { TreeTooLarge } from '../manifest/format.ts'

/** TREE_CHANGED: the tree changed although it should be quiet. */
export function changed(volume: string, path: BytePath): WherryError {
  return new WherryError('TREE_CHANGED', `${printable(path)} in volume ${volume} changed while it was read.`, {
    hint: 'A process still writes to the volume. Stop it, then try again.',
  })
}

/** Characters of the beginning and of the end of a long path: a log line needs no more. */
const PATH_END_CHARACTERS = 80

/** TREE_UNSUPPORTED: a manifest cannot represent `path`, for the reason `what`. */
export function unsupported(volume: string, path: BytePath, what: string): WherryError {
  const where = `${shortened(printable(path))} in volume ${volume}`
  return new WherryError('TREE_UNSUPPORTED', `${where} ${what}, which Wherry cannot move.`, {
    hint: 'Remove it from the volume.',
  })
}

/** TREE_UNSUPPORTED: the tree has more than a manifest may have. */
export function treeTooLarge(volume: string, cause: TreeTooLarge): WherryError {
  return new WherryError('TREE_UNSUPPORTED', `Volume ${volume} ${cause.message}, which Wherry cannot move.`, {
    hint: 'Remove some, or use several volumes. If nobody needs it any more: wherry rm VOLUME --force.',
    cause,
  })
}

/**
 * CHANGES_MISSED: a part of a file has changed, and neither the tracker nor the file's ctime has reported it.
 * `length` 0: the file's state has changed, and the tracker has not reported it.
 */
export function changesMissed(
  volume: string,
  { name, offset, length }: { readonly name: BytePath; readonly offset: number; readonly length: number },
): WherryError {
  const part = length === 0 ? '' : `bytes ${offset} to ${offset + length} of `
  const where = `${part}${printable(name)} in volume ${volume}`
  const what = `The kernel did not report that ${where} had changed: the audit found it.`
  return new WherryError('CHANGES_MISSED', what, {
    hint:
      'From now on changes are found by reading. Copies get what was missed with the next checkpoint. ' +
      'Please report this with the versions of the kernel and the file system.',
  })
}

function shortened(path: string): string {
  if (path.length <= 2 * PATH_END_CHARACTERS) return path
  const left = path.length - 2 * PATH_END_CHARACTERS
  return `${path.slice(0, PATH_END_CHARACTERS)} [${left} characters] ${path.slice(-PATH_END_CHARACTERS)}`
}
