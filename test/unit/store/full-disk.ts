import { randomBytes } from 'node:crypto'
import { closeSync, openSync, writeSync } from 'node:fs'

/** Writes a file until the disk is full. */
export function fillDisk(path: string): void {
  const fd = openSync(path, 'w')
  try {
    for (const bytes of [1024 * 1024, 4096]) {
      try {
        for (;;) writeSync(fd, randomBytes(bytes))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
      }
    }
  } finally {
    closeSync(fd)
  }
}
