import { createRequire } from 'node:module'
import { SystemCallError } from './failure.ts'

type Koffi = typeof import('koffi')
type Callback = (error: Error | null, result: number) => void
export type Native = ((...args: unknown[]) => number) & { async(...args: unknown[]): void }

// glibc has no function for openat2.
// ioctl, openat and syscall are variadic in C. On x86-64 and arm64 an integer or pointer goes into the same
// register.
const PROTOTYPES = {
  clock_gettime: 'int clock_gettime(int clock, void *into)',
  copy_file_range:
    'int64_t copy_file_range(int from, void *fromOffset, int to, void *toOffset, size_t length, unsigned int flags)',
  fallocate: 'int fallocate(int fd, int mode, int64_t offset, int64_t length)',
  fanotify_init: 'int fanotify_init(unsigned int flags, unsigned int eventFlags)',
  fanotify_mark: 'int fanotify_mark(int fd, unsigned int flags, uint64_t mask, int dirfd, const void *path)',
  flock: 'int flock(int fd, int operation)',
  fstatfs: 'int fstatfs(int fd, void *into)',
  futimens: 'int futimens(int fd, const void *times)',
  ioctl: 'int ioctl(int fd, unsigned long request, void *argument)',
  lgetxattr: 'int64_t lgetxattr(const void *path, const void *name, void *value, size_t size)',
  llistxattr: 'int64_t llistxattr(const void *path, void *list, size_t size)',
  lremovexattr: 'int lremovexattr(const void *path, const void *name)',
  lseek: 'int64_t lseek(int fd, int64_t offset, int whence)',
  lsetxattr: 'int lsetxattr(const void *path, const void *name, const void *value, size_t size, int flags)',
  mknod: 'int mknod(const void *path, unsigned int mode, uint64_t device)',
  mount: 'int mount(const void *source, const void *target, const void *type, unsigned long flags, const void *data)',
  openat2: 'int64_t syscall(int64_t number, int64_t directory, const void *path, const void *how, size_t howBytes)',
  openat: 'int openat(int dirfd, const void *path, int flags, unsigned int mode)',
  poll: 'int poll(void *fds, unsigned long count, int timeout)',
  posix_fadvise: 'int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)',
  setns: 'int setns(int fd, int type)',
  statx: 'int statx(int dirfd, const void *path, int flags, unsigned int mask, void *into)',
  sync_file_range: 'int sync_file_range(int fd, int64_t offset, int64_t length, unsigned int flags)',
  syncfs: 'int syncfs(int fd)',
  sysconf: 'int64_t sysconf(int name)',
  syscall:
    'int64_t syscall(int64_t number, int64_t first, const void *second, int64_t third, void *fourth, int64_t fifth)',
  umount2: 'int umount2(const void *target, int flags)',
  unlinkat: 'int unlinkat(int dirfd, const void *path, int flags)',
  unshare: 'int unshare(int flags)',
  utimensat: 'int utimensat(int dirfd, const void *path, const void *times, int flags)',
} as const

export type CallName = keyof typeof PROTOTYPES

/**
 * Errnos that a wait for a lock leaves behind (futex(2)).
 * V8 may wait for a lock between a call and the question for its errno. Calls in this folder fail with these only
 * when they have to be made again, so they are repeated a few times.
 */
const DOUBTFUL: ReadonlySet<string> = new Set(['EAGAIN', 'EINTR', 'ETIMEDOUT'])
const TRIES = 4

interface Libc {
  readonly koffi: Koffi
  readonly calls: Record<CallName, Native>
  readonly errnoNames: ReadonlyMap<number, string>
}

let loaded: Libc | undefined
/** Errno of this thread's last failed call. */
let lastErrno = 0

/** glibc's functions, loaded on the first call: importing this module has no effect. */
function libc(): Libc {
  if (loaded !== undefined) return loaded
  const koffi: Koffi = createRequire(import.meta.url)('koffi')
  const library = koffi.load('libc.so.6')
  const calls = {} as Record<CallName, Native>
  const errnoNames = new Map<number, string>()
  // EAGAIN and EWOULDBLOCK, ENOTSUP and EOPNOTSUPP share numbers; the alphabetically first name wins.
  for (const [name, number] of Object.entries(koffi.os.errno).sort()) {
    if (!errnoNames.has(number)) errnoNames.set(number, name)
  }
  const isDoubtful = (errno: number) => DOUBTFUL.has(errnoNames.get(errno) ?? '')
  for (const name of Object.keys(PROTOTYPES) as CallName[]) {
    const raw = library.func(PROTOTYPES[name]) as Native
    const call = repeated(raw, () => koffi.errno(), isDoubtful)
    calls[name] = Object.assign(call, { async: raw.async.bind(raw) })
  }
  loaded = { koffi, calls, errnoNames }
  return loaded
}

/** Wraps a call: it is repeated while its errno cannot be right, and its errno is read at once. */
export function repeated(
  raw: (...args: unknown[]) => number,
  errno: () => number,
  isDoubtful: (errno: number) => boolean,
): (...args: unknown[]) => number {
  return (...args) => {
    for (let tries = 1; ; tries++) {
      const result = raw(...args)
      if (result >= 0) return result
      lastErrno = errno()
      if (tries === TRIES || !isDoubtful(lastErrno)) return result
    }
  }
}

/**
 * Returns glibc's function itself, for calls made 100,000 times a second.
 * The caller checks the result and asks `failure`.
 */
export function native(call: CallName): Native {
  return libc().calls[call]
}

/** Returns the error of the call that has just failed in this thread. */
export function failure(call: CallName, path: string): SystemCallError {
  return new SystemCallError(call, path, libc().errnoNames.get(lastErrno) ?? `errno ${lastErrno}`)
}

/** Makes a call that does not wait for a device; throws SystemCallError. `path` is for the message only. */
export function callNow(call: CallName, path: string, ...args: unknown[]): number {
  const result = libc().calls[call](...args)
  if (result < 0) throw failure(call, path)
  return result
}

/** Makes a call that may block, on one of libuv's threads; rejects SystemCallError. koffi carries errno over. */
export function callAsync(call: CallName, path: string, ...args: unknown[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const { koffi, calls } = libc()
    const done: Callback = (error, result) => {
      if (error !== null) reject(error)
      else if (result < 0) {
        lastErrno = koffi.errno()
        reject(failure(call, path))
      } else resolve(result)
    }
    calls[call].async(...args, done)
  })
}

const NUL = Buffer.alloc(1)

/** Encodes a path or name for the kernel: its bytes and a NUL. */
export function cString(bytes: Buffer | string): Buffer {
  return Buffer.concat([typeof bytes === 'string' ? Buffer.from(bytes) : bytes, NUL])
}

/** Returns the address of a buffer's bytes. */
export function addressOf(buffer: Buffer): bigint {
  return libc().koffi.address(buffer)
}
