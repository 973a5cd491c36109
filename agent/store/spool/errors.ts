import { WherryError } from '../../model/errors.ts'
import type { Checkpoint } from '../../model/model.ts'

const HINT = 'Take the checkpoint again.'

/** HASH_MISMATCH: a commit of another checkpoint than the captured one. */
export function notCaptured(volume: string, { epoch, seq }: Checkpoint): WherryError {
  const what = `Checkpoint ${epoch}.${seq} of volume ${volume} is not the one that was captured last.`
  return new WherryError('HASH_MISMATCH', what, { hint: HINT })
}

/** HASH_MISMATCH: a capture while nothing is frozen. */
export function notFrozen(volume: string): WherryError {
  const what = `Nothing of volume ${volume} is frozen, so nothing can be captured.`
  return new WherryError('HASH_MISMATCH', what, { hint: HINT })
}
