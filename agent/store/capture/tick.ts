import { open, readFile } from 'node:fs/promises'
import { syncFileSystem } from '../../sys/files.ts'

/**
 * Reads the clock that the file system stamps ctimes with, then writes all its dirty pages out. What the answer T is for:
 * a file read after this call whose ctime is below T cannot change again without a new ctime. (Its pages are
 * write-protected by the writeback, so the next store through a mapping faults and moves ctime; a ctime of T or later
 * may share its clock tick, which is 1 to 10 ms long, with a store yet to come.)
 */
export async function tickAndSync(path: string): Promise<bigint> {
  const file = await open(path, 'w', 0o600)
  try {
    await file.write(Buffer.from('t'), 0, 1, 0)
    const { ctimeNs } = await file.stat({ bigint: true })
    await syncFileSystem(file.fd, path)
    return ctimeNs
  } finally {
    await file.close()
  }
}

/** Changes at every boot: after a power loss new data may lie under an old ctime, so nothing seen before counts. */
export async function bootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
}
