import { WherryError } from '../../model/errors.ts'
import type { Checkpoint } from '../../model/model.ts'

const HINT = 'Take the checkpoint anew.'

/** HASH_MISMATCH: a commit of something else. */
export function notCaptured(volume: string, { epoch, seq }: Checkpoint): WherryError {
  const what = `Checkpoint ${epoch}.${seq} is not what was captured last of volume ${volume}.`
  return new WherryError('HASH_MISMATCH', what, { hint: HINT })
}

/** HASH_MISMATCH: a capture of nothing. */
export function notFrozen(volume: string): WherryError {
  const what = `Nothing stands still of volume ${volume} that could be captured.`
  return new WherryError('HASH_MISMATCH', what, { hint: HINT })
}
