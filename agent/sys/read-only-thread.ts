import { closeSync, openSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { errnoOf } from './failure.ts'
import { callNow, cString, native } from './libc.ts'
import type { ReadOnlyOutcome } from './read-only-mounts.ts'
import type { MountPlace } from './tree-use.ts'

/** linux/sched.h */
const CLONE_FS = 0x200
const CLONE_NEWNS = 0x20000
/** Of mount_setattr(2): the same number on every architecture. */
const SYS_MOUNT_SETATTR = 442
const AT_FDCWD = -100
const MOUNT_ATTR_RDONLY = 1n

interface Mount {
  readonly namespace: number
  readonly path: string
}

/**
 * Sets or clears the mount's read-only flag and keeps its other flags.
 * The thread is in the mount's namespace afterwards.
 */
function setReadOnly({ namespace, path }: Mount, on: boolean): void {
  callNow('setns', path, namespace, CLONE_NEWNS)
  const attributes = Buffer.alloc(32)
  attributes.writeBigUInt64LE(MOUNT_ATTR_RDONLY, on ? 0 : 8)
  callNow('syscall', path, SYS_MOUNT_SETATTR, AT_FDCWD, cString(path), 0, attributes, attributes.length)
}

function setAllIn(places: readonly MountPlace[], on: boolean): ReadOnlyOutcome {
  // After the first setns this thread cannot find files of this program.
  native('setns')
  const home = openSync('/proc/thread-self/ns/mnt', 'r')
  const opened = places.map(({ namespace, writable }) => ({ fd: openSync(namespace, 'r'), writable }))
  const mounts = opened.flatMap(({ fd, writable }) => writable.map((path) => ({ namespace: fd, path })))
  try {
    // A thread that shares its working directory may not change its mount namespace.
    callNow('unshare', 'the working directory', CLONE_FS)
    return setAll(mounts, on)
  } finally {
    // Whatever Node does at the thread's end, such as writing its compile cache, must happen in this namespace.
    // Refused: it never left.
    native('setns')(home, CLONE_NEWNS)
    closeSync(home)
    for (const { fd } of opened) closeSync(fd)
  }
}

function setAll(mounts: readonly Mount[], on: boolean): ReadOnlyOutcome {
  const done: Mount[] = []
  try {
    for (const mount of mounts) {
      setReadOnly(mount, on)
      done.push(mount)
    }
    return 'read-only'
  } catch (error) {
    for (const mount of done) setReadOnly(mount, !on)
    return errnoOf(error) === 'EBUSY' ? 'busy' : { failed: String(error) }
  }
}

const { places, isReadOnly } = workerData as { places: readonly MountPlace[]; isReadOnly: boolean }
parentPort?.postMessage(setAllIn(places, isReadOnly))
