import { closeSync, constants, openSync } from 'node:fs'
import { errnoOf } from '../../sys/failure.ts'
import { fileSystemOf } from '../../sys/file-system.ts'
import { StatBuffer, statAt } from '../../sys/stat.ts'
import type { Tracker } from './contract.ts'
import { InodeTracker } from './inode-tracker.ts'
import { openKernelPart } from './kernel-part.ts'
import { seesAttributes, selfTest } from './self-test.ts'
import { hasJournal, isProven, kernelHas, lockdownNote, lookAround, reasonAgainst } from './suitability.ts'

/** Each takes some tens of milliseconds. */
const LOAD_TRIES = 10

/**
 * Opens the tracker for the file system that a directory (open for writing) lies on; or says in a sentence why there is none. Throws nothing.
 * Takes about 0.1 s. `objectPath` is what scripts/lib/build-tracker made. `dropEvery` is for tests only: every so many-th event is dropped without a
 * trace, so that an audit can be seen to find it; 0: none. Needs CAP_SYS_ADMIN, also on kernels with CAP_BPF and CAP_PERFMON (capabilities(7)).
 */
export function openTracker(
  directory: string,
  objectPath: string,
  { dropEvery = 0 }: { readonly dropEvery?: number } = {},
): { readonly tracker: Tracker } | { readonly reason: string } {
  try {
    const { fileSystem, major, minor } = place(directory)
    const against = reasonAgainst(lookAround(fileSystem, major, minor, objectPath))
    if (against !== null || !isProven(fileSystem)) return { reason: against ?? fileSystem }
    const has = (name: string) => kernelHas(name, fileSystem)
    const kernel = loadPatiently(() => openKernelPart(objectPath, { fileSystem, major, minor, dropEvery, has }))
    try {
      const unseen = dropEvery > 0 ? null : selfTest(kernel, directory)
      if (unseen === null) {
        const tellsTouched = hasJournal(fileSystem, major, minor) && seesAttributes(kernel, directory)
        return { tracker: new InodeTracker(kernel, { tellsTouched }) }
      }
      kernel[Symbol.dispose]()
      return { reason: `The tracker does not work here: it did not see ${unseen}.` }
    } catch (error) {
      kernel[Symbol.dispose]()
      throw error
    }
  } catch (error) {
    return { reason: `The tracker could not be started: ${(error as Error).message}${lockdownNote()}` }
  }
}

/** The kernel gives a load up with EAGAIN when a signal comes (bpf(2), kernel/bpf/verifier.c), and libbpf tries five times only. */
function loadPatiently<T>(load: () => T): T {
  for (let tries = 1; ; tries++) {
    try {
      return load()
    } catch (error) {
      if (errnoOf(error) !== 'EAGAIN' || tries === LOAD_TRIES) throw error
    }
  }
}

function place(directory: string): { fileSystem: string; major: number; minor: number } {
  const fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    const stat = new StatBuffer()
    statAt(fd, '', stat)
    return { fileSystem: fileSystemOf(fd), major: stat.devMajor, minor: stat.devMinor }
  } finally {
    closeSync(fd)
  }
}
