import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/**
 * Memory comes last: a manifest takes about 110 bytes for each entry, block lists 3 MB for each GB. A plugin's root may
 * be on the disk that failed.
 */
const places = () => [tmpdir(), '/dev/shm', '/dev']

/**
 * Makes a new directory outside of the state directory, where something can be written. Rejects with the last system
 * call's error.
 */
export async function makeScratch(): Promise<string> {
  let failure: unknown
  for (const place of places()) {
    try {
      return await mkdtemp(join(place, 'wherry-'))
    } catch (error) {
      failure = error
    }
  }
  throw failure
}
