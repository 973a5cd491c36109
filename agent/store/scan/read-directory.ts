import { readdirSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { self } from '../inode/directory.ts'
import type { BytePath } from '../manifest/byte-path.ts'

/**
 * The size of a directory grows with its names.
 * Reading and sorting a larger one takes so long that the loop must yield.
 */
const LARGE_DIRECTORY_BYTES = 1024 * 1024

/** Reads the names in a held directory of this size, sorted by their bytes. */
export async function readNames(fd: number, sizeBytes: number): Promise<BytePath[]> {
  const large = sizeBytes > LARGE_DIRECTORY_BYTES
  const names = large ? await readdir(self(fd), 'latin1') : readdirSync(self(fd), 'latin1')
  return names.sort()
}
