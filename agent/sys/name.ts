import { SystemCallError } from './failure.ts'

/** NAME_MAX of linux/limits.h: no file system accepts a longer name. */
const NAME_MAX_BYTES = 255
/** '/proc/self/fd/', ten digits, '/', a name, NUL. */
const PROC_PATH_BYTES = 14 + 10 + 1 + NAME_MAX_BYTES + 1
const SLASH = 47
const DOT = 46

/**
 * Every call here ends before the next begins, so a thread needs one buffer of each kind. They are made on first use.
 */
let nameBuffer: Buffer | undefined
let pathBuffer: Buffer | undefined

/**
 * Encodes one name in a directory (one character per byte) with a NUL; valid until the next call.
 * Throws SystemCallError ENAMETOOLONG, and EINVAL for a slash, NUL or '..'. Costs 0.1 us.
 */
export function nameBytes(name: string): Buffer {
  nameBuffer ??= Buffer.alloc(NAME_MAX_BYTES + 1)
  write(name, nameBuffer, 0)
  return nameBuffer
}

/**
 * Returns the path to a name in a held directory, for calls that take no directory descriptor (proc_pid_fd(5)).
 * '' is the directory itself. Valid until the next call. Throws as `nameBytes` does.
 */
export function procPath(directoryFd: number, name: string): Buffer {
  pathBuffer ??= Buffer.alloc(PROC_PATH_BYTES)
  const length = pathBuffer.write(`/proc/self/fd/${directoryFd}/`, 0, 'latin1')
  // Without a name after it, the slash makes the kernel follow the link to the directory.
  write(name, pathBuffer, length)
  return pathBuffer
}

function write(name: string, into: Buffer, at: number): void {
  const { length } = name
  if (length > NAME_MAX_BYTES) throw new SystemCallError('lookup', name, 'ENAMETOOLONG')
  for (let i = 0; i < length; i++) {
    const byte = name.charCodeAt(i)
    if (byte === 0 || byte === SLASH || byte > 255) throw new SystemCallError('lookup', name, 'EINVAL')
    into[at + i] = byte
  }
  if (length === 2 && into[at] === DOT && into[at + 1] === DOT) throw new SystemCallError('lookup', name, 'EINVAL')
  into[at + length] = 0
}
