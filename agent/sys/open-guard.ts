import { closeSync } from 'node:fs'
import { errnoOf } from './failure.ts'
import { callNow, cString } from './libc.ts'

/** fanotify_init(2): FAN_CLASS_CONTENT, FAN_CLOEXEC, FAN_NONBLOCK. */
const GROUP = 0x4 | 0x1 | 0x2
/** fanotify_mark(2). */
const FAN_MARK_ADD = 0x1
const FAN_OPEN_PERM = 0x10000n
const AT_FDCWD = -100
/** poll(2): struct pollfd has a descriptor, the requested events, and the returned events. */
const POLLFD_BYTES = 8
const POLLIN = 0x1
const EVENTS_AT = 4
const REVENTS_AT = 6

/**
 * Holds every process that opens one of some files until the guard is closed, then lets them in.
 * Uses permission events of fanotify(7); the kernel lets them in when this process dies.
 * This process must not open the files meanwhile: it would wait for itself.
 */
export class OpenGuard implements Disposable {
  readonly #fd: number
  readonly #pollfd = Buffer.alloc(POLLFD_BYTES)
  #closed = false

  private constructor(fd: number) {
    this.#fd = fd
    this.#pollfd.writeInt32LE(fd, 0)
    this.#pollfd.writeInt16LE(POLLIN, EVENTS_AT)
  }

  /**
   * Opens a guard; null where the kernel has none (built without CONFIG_FANOTIFY_ACCESS_PERMISSIONS).
   * Throws SystemCallError, with errno ENOENT for a missing file.
   */
  static over(paths: readonly string[]): OpenGuard | null {
    const guard = OpenGuard.#create()
    if (guard === null) return null
    try {
      for (const path of paths) {
        callNow('fanotify_mark', path, guard.#fd, FAN_MARK_ADD, FAN_OPEN_PERM, AT_FDCWD, cString(path))
      }
      return guard
    } catch (error) {
      guard[Symbol.dispose]()
      if (errnoOf(error) === 'EINVAL') return null
      throw error
    }
  }

  /** Tells whether a process waits to be let in. Takes microseconds. */
  get isKnockedAt(): boolean {
    if (this.#closed) return false
    this.#pollfd.writeInt16LE(0, REVENTS_AT)
    return callNow('poll', 'a fanotify group', this.#pollfd, 1, 0) > 0
  }

  /** Lets in all processes that wait, and all later ones. Safe to repeat. */
  [Symbol.dispose](): void {
    if (this.#closed) return
    this.#closed = true
    closeSync(this.#fd)
  }

  static #create(): OpenGuard | null {
    try {
      return new OpenGuard(callNow('fanotify_init', 'a fanotify group', GROUP, 0))
    } catch (error) {
      if (['ENOSYS', 'EPERM', 'EINVAL'].includes(errnoOf(error) ?? '')) return null
      throw error
    }
  }
}
