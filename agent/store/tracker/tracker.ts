import { closeSync, constants, openSync } from 'node:fs'
import { errnoOf } from '../../sys/failure.ts'
import { fileSystemOf } from '../../sys/file-system.ts'
import { StatBuffer, statAt } from '../../sys/stat.ts'
import type { Tracker } from './contract.ts'
import { InodeTracker } from './inode-tracker.ts'
import { openKernelPart } from './kernel-part.ts'
import { seesAttributes, selfTest } from './self-test.ts'
import { hasJournal, isProven, kernelHas, lockdownNote, readCircumstances, reasonAgainst } from './suitability.ts'

/** Each takes some tens of milliseconds. */
const LOAD_TRIES = 10

/**
 * Opens the tracker for the file system of a directory (open for writing), or returns a sentence that says why not.
 * Throws nothing. Takes about 0.1 s. Needs CAP_SYS_ADMIN, also on kernels with CAP_BPF and CAP_PERFMON
 * (capabilities(7)). `objectPath` is the output of scripts/lib/build-tracker.
 * `dropEvery` is for tests only: every so many-th event is dropped without a trace, for the audit to find; 0: none.
 */
export function openTracker(
  directory: string,
  objectPath: string,
  { dropEvery = 0 }: { readonly dropEvery?: number } = {},
): { readonly tracker: Tracker } | { readonly reason: string } {
  try {
    const { fileSystem, major, minor } = place(directory)
    const against = reasonAgainst(readCircumstances(fileSystem, major, minor, objectPath))
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

/**
 * Retries: the kernel abandons a load with EAGAIN when a signal comes (bpf(2), kernel/bpf/verifier.c).
 * libbpf tries five times only.
 */
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
