import { closeSync, constants, openSync } from 'node:fs'
import { SystemCallError } from '../../sys/failure.ts'
import { FLAG_APPEND, FLAG_IMMUTABLE, FLAG_NOCOW, getFlags, setFlags } from '../../sys/flags.ts'
import { FLAGS_KEPT } from '../manifest/entry.ts'

const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants

/** While one of these is set, neither content nor attributes nor, in a directory, names can change. */
export const FLAGS_IN_THE_WAY = FLAG_IMMUTABLE | FLAG_APPEND

/**
 * Sets those flags of the file or directory at `place` that are data; the others stay.
 * May be repeated.
 * Returns whether anything changed. Throws SystemCallError: EPERM without the capability, EOPNOTSUPP where the file
 * system does not know a flag.
 * NOCOW is set where the file system takes it (btrfs, in directories and empty files) and dropped elsewhere: it
 * only affects speed.
 */
export function changeFlags(place: Buffer, wanted: number): boolean {
  const fd = openSync(place, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  try {
    const present = getFlags(fd) ?? 0
    const next = (present & ~FLAGS_KEPT) | wanted
    if (next === present) return false
    if (setFlags(fd, next) !== undefined) return true
    const without = (next & ~FLAG_NOCOW) | (present & FLAG_NOCOW)
    if (without === present) return false
    if (setFlags(fd, without) !== undefined) return true
    throw new SystemCallError('ioctl', place.toString(), 'EOPNOTSUPP')
  } finally {
    closeSync(fd)
  }
}
