import { readdirSync } from 'node:fs'
import { YieldLoop } from '../../runtime/yield-loop.ts'
import { self } from '../inode/directory.ts'
import { readNamesOf } from '../inode/entries.ts'
import type { BytePath } from '../manifest/byte-path.ts'
import { TREE_LIMITS, TreeTooLarge, tooManyEntries } from '../manifest/format.ts'

/**
 * The size of a directory grows with its names.
 * A larger one is read in pieces, with a count: it may have more names than fit in memory.
 */
const LARGE_DIRECTORY_BYTES = 1024 * 1024
/** What V8 needs for a short string in an array. */
const NAME_ROOM_BYTES = 24

/** Reads the names in a held directory of this size, sorted by their bytes. Throws TreeTooLarge. */
export async function readNames(fd: number, sizeBytes: number, limits = TREE_LIMITS): Promise<BytePath[]> {
  if (sizeBytes <= LARGE_DIRECTORY_BYTES) return readdirSync(self(fd), 'latin1').sort()
  const pace = new YieldLoop()
  const names: BytePath[] = []
  let bytes = 0
  for (const name of readNamesOf(fd)) {
    if (names.length >= limits.entries) throw tooManyEntries(limits)
    bytes += NAME_ROOM_BYTES + name.length
    if (bytes > limits.namesBytes) {
      throw new TreeTooLarge(`has a directory whose names do not fit in ${limits.namesBytes} bytes of memory`)
    }
    names.push(name)
    if (pace.due()) await pace.rest()
  }
  return names.sort()
}
