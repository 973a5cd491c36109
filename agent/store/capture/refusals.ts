import { WherryError } from '../../errors.ts'
import { type BytePath, printable } from '../path.ts'

/** TREE_CHANGED: the tree was to be quiet. */
export function changed(volume: string, path: BytePath): WherryError {
  return new WherryError('TREE_CHANGED', `${printable(path)} in volume ${volume} changed while it was read.`, {
    hint: 'Something still writes to the volume; stop it, then try again.',
  })
}

/** TREE_UNSUPPORTED: `path` (continued by `what`) cannot be said by a manifest. */
export function unsupported(volume: string, path: BytePath, what: string): WherryError {
  const where = `${printable(path)} in volume ${volume}`
  return new WherryError('TREE_UNSUPPORTED', `${where} ${what}, which Wherry cannot move.`, {
    hint: 'Remove it from the volume.',
  })
}
