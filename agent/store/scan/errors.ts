import { WherryError } from '../../model/errors.ts'
import { type BytePath, printable } from '../manifest/byte-path.ts'

/** TREE_CHANGED: the tree was to be quiet. */
export function changed(volume: string, path: BytePath): WherryError {
  return new WherryError('TREE_CHANGED', `${printable(path)} in volume ${volume} changed while it was read.`, {
    hint: 'Something still writes to the volume; stop it, then try again.',
  })
}

/** The beginning and the end of a path say enough: what a deep tree is about is said in each line of a log. */
const PATH_END_CHARACTERS = 80

/** TREE_UNSUPPORTED: `path` (continued by `what`) cannot be said by a manifest. */
export function unsupported(volume: string, path: BytePath, what: string): WherryError {
  const where = `${shortened(printable(path))} in volume ${volume}`
  return new WherryError('TREE_UNSUPPORTED', `${where} ${what}, which Wherry cannot move.`, {
    hint: 'Remove it from the volume.',
  })
}

/**
 * CHANGES_MISSED: a part of a file is another than it was, and neither the tracker nor the file's ctime has told of it;
 * or (length 0) its state is, and the tracker has not.
 */
export function changesMissed(
  volume: string,
  { name, offset, length }: { readonly name: BytePath; readonly offset: number; readonly length: number },
): WherryError {
  const part = length === 0 ? '' : `bytes ${offset} to ${offset + length} of `
  const where = `${part}${printable(name)} in volume ${volume}`
  const what = `The kernel did not tell that ${where} had changed: the audit found it.`
  return new WherryError('CHANGES_MISSED', what, {
    hint: 'Changes are found by reading from now on, and copies get all that was missed with the next checkpoint. Please report it, with the kernel and the file system.',
  })
}

function shortened(path: string): string {
  if (path.length <= 2 * PATH_END_CHARACTERS) return path
  const left = path.length - 2 * PATH_END_CHARACTERS
  return `${path.slice(0, PATH_END_CHARACTERS)} [${left} characters] ${path.slice(-PATH_END_CHARACTERS)}`
}
