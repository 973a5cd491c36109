import koffi from 'koffi'
export function tryLock(fd: number): boolean {
  const lib = koffi.load('libc.so.6')
  return lib.func('int flock(int fd, int op)')(fd, 6) === 0
}
