import { SystemCallError } from './failure.ts'

/** NAME_MAX of linux/limits.h: no file system takes a longer name. */
const NAME_MAX_BYTES = 255
/** '/proc/self/fd/', ten digits, '/', a name, NUL. */
const PROC_PATH_BYTES = 14 + 10 + 1 + NAME_MAX_BYTES + 1
const SLASH = 47
const DOT = 46

/** Every call here ends before the next begins: one buffer of each kind for a thread, made when it is first needed. */
let nameBuffer: Buffer | undefined
let pathBuffer: Buffer | undefined

/**
 * A name in a directory (one character per byte) as the kernel wants it, with a NUL; good until the next call. Throws
 * SystemCallError ENAMETOOLONG, and EINVAL for what is not one name: with a slash or NUL, or '..'. Costs 0.1 us.
 */
export function nameBytes(name: string): Buffer {
  nameBuffer ??= Buffer.alloc(NAME_MAX_BYTES + 1)
  write(name, nameBuffer, 0)
  return nameBuffer
}

/**
 * The path to a name in a held directory for calls that know no directory descriptor (proc_pid_fd(5)); '' is the
 * directory itself. Good until the next call. Throws as `nameBytes` does.
 */
export function procPath(directoryFd: number, name: string): Buffer {
  pathBuffer ??= Buffer.alloc(PROC_PATH_BYTES)
  const length = pathBuffer.write(`/proc/self/fd/${directoryFd}/`, 0, 'latin1')
  // Without a name after it the slash makes the kernel follow the link to the directory.
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
