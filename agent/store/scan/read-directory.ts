import { readdirSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { self } from '../inode/directory.ts'
import type { BytePath } from '../manifest/byte-path.ts'

/** The size of a directory grows with its names. Reading and sorting those of a larger one takes so long that others must have a turn meanwhile. */
const LARGE_DIRECTORY_BYTES = 1024 * 1024

/** The names in a held directory of this size, sorted by their bytes. */
export async function namesIn(fd: number, sizeBytes: number): Promise<BytePath[]> {
  const large = sizeBytes > LARGE_DIRECTORY_BYTES
  const names = large ? await readdir(self(fd), 'latin1') : readdirSync(self(fd), 'latin1')
  return names.sort()
}
