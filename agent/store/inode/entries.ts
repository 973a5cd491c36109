import { opendirSync } from 'node:fs'
import type { BytePath } from '../manifest/byte-path.ts'
import { self } from './directory.ts'

/** Entries that are read from the kernel at a time. */
const READ_AT_ONCE = 1024

/** A name in a directory and what it names: only `isDirectory` and `isFile` matter to a walk. */
export interface NamedEntry {
  readonly name: BytePath
  isDirectory(): boolean
  isFile(): boolean
}

/**
 * Returns the entries of a held directory in the kernel's order, and holds only some of them at a time: a directory
 * may have more names than fit in memory.
 * What is returned may be removed meanwhile (POSIX, readdir).
 */
export function* readEntries(fd: number): Generator<NamedEntry> {
  // Names are bytes. The types of Node know no encoding 'buffer' here; readdir has it.
  const directory = opendirSync(self(fd), { encoding: 'buffer' as BufferEncoding, bufferSize: READ_AT_ONCE })
  try {
    for (let entry = directory.readSync(); entry !== null; entry = directory.readSync()) {
      const found = entry
      const name = (entry.name as unknown as Buffer).toString('latin1')
      yield { name, isDirectory: () => found.isDirectory(), isFile: () => found.isFile() }
    }
  } finally {
    directory.closeSync()
  }
}

/** Returns the names of a held directory in the kernel's order, as `readEntries` does, and nothing else of them. */
export function* readNamesOf(fd: number): Generator<BytePath> {
  const directory = opendirSync(self(fd), { encoding: 'latin1', bufferSize: READ_AT_ONCE })
  try {
    for (let entry = directory.readSync(); entry !== null; entry = directory.readSync()) yield entry.name
  } finally {
    directory.closeSync()
  }
}
