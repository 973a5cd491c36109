import { closeSync, constants, fchmodSync, fchownSync } from 'node:fs'
import { listXattrsAt, setTimes } from '../../sys/attributes.ts'
import { errnoOf } from '../../sys/failure.ts'
import { openAt, unlinkAt } from '../../sys/open.ts'
import { umask } from '../../sys/process.ts'
import { StatBuffer, statAt } from '../../sys/stat.ts'
import { HASH_BYTES } from '../blocks/block-size.ts'
import { writeFully } from '../blocks/full-io.ts'
import { type Memory, sha256 } from './memory.ts'
import { GOOD, OTHER_CONTENT, outcomeOf } from './outcome.ts'

const CREATE_FLAGS = constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY
const S_ISGID = 0o2000
/** Mode bits that open(2) gives a new file; suid, sgid and sticky come with chmod alone. */
const PERMISSIONS = 0o777

/** Files in columns: a message of a thousand small objects would cost as much as creating them. */
export interface CreateFilesTask {
  readonly directoryFd: number
  readonly names: readonly string[]
  /** mode, uid, gid, offset and size of each file. */
  readonly numbers: Uint32Array
  readonly mtimesNs: readonly bigint[]
  readonly hashes: Uint8Array
  readonly payload: Uint8Array
}

/** Columns of `numbers`. */
export const NUMBERS_PER_FILE = 5

interface Attributes {
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly mtimeNs: bigint
}

/** What a new file in the directory gets by itself. */
interface Given {
  readonly uid: number
  readonly gid: number
  /** Mode bits that it may not get. */
  readonly without: number
}

/** `BlockPool.createFiles`. */
export function createFiles(_memory: Memory, task: CreateFilesTask) {
  const { directoryFd, names, numbers, mtimesNs, hashes, payload } = task
  const outcomes = new Uint16Array(names.length)
  const given = givenIn(directoryFd)
  for (const [i, name] of names.entries()) {
    const [mode = 0, uid = 0, gid = 0, offset = 0, sizeBytes = 0] = numbers.subarray(i * NUMBERS_PER_FILE)
    const content = payload.subarray(offset, offset + sizeBytes)
    const hash = hashes.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES)
    const right = content.length === sizeBytes && sha256(content).equals(hash)
    outcomes[i] = right
      ? create(directoryFd, name, content, { mode, uid, gid, mtimeNs: mtimesNs[i] ?? 0n }, given)
      : OTHER_CONTENT
  }
  return { outcomes, returned: payload }
}

/**
 * A directory with the setgid bit passes on its group.
 * One with a default ACL decides on the mode (inode(7), acl(5)).
 */
function givenIn(directoryFd: number): Given {
  const stat = new StatBuffer()
  statAt(directoryFd, '', stat)
  const inherits = (stat.mode & S_ISGID) !== 0
  const hasAcl = listXattrsAt(directoryFd, '').includes('system.posix_acl_default')
  return {
    uid: process.geteuid?.() ?? 0,
    gid: inherits ? stat.gid : (process.getegid?.() ?? 0),
    without: hasAcl ? PERMISSIONS : umask(),
  }
}

function create(directoryFd: number, name: string, content: Uint8Array, wanted: Attributes, given: Given): number {
  let fd: number | undefined
  try {
    fd = openNew(directoryFd, name, wanted.mode & PERMISSIONS)
    writeFully(fd, content, 0)
    if (wanted.uid !== given.uid || wanted.gid !== given.gid) fchownSync(fd, wanted.uid, wanted.gid)
    // After the owner: chown clears suid. Most files have their mode already, and each call costs a journal entry.
    if ((wanted.mode & (given.without | ~PERMISSIONS)) !== 0) fchmodSync(fd, wanted.mode)
    setTimes(fd, wanted.mtimeNs)
    return GOOD
  } catch (error) {
    // Half a file must not be mistaken for a whole one.
    if (fd !== undefined) unlinkAt(directoryFd, name)
    return outcomeOf(error)
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

/**
 * Creates a file, in place of an older one.
 * Only root gets into the stage: the file may have its mode before its owner.
 */
function openNew(directoryFd: number, name: string, mode: number): number {
  try {
    return openAt(directoryFd, name, CREATE_FLAGS, mode)
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error
    unlinkAt(directoryFd, name)
    return openAt(directoryFd, name, CREATE_FLAGS, mode)
  }
}
