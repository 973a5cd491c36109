import { closeSync } from 'node:fs'
import { constants } from 'node:os'
import { SystemCallError } from '../../sys/failure.ts'
import { setAttributes } from '../inode/attributes.ts'
import { at } from '../inode/directory.ts'
import type { Mirror } from '../inode/mirror.ts'
import { printable } from '../manifest/byte-path.ts'
import type { FileEntry } from '../manifest/entry.ts'
import type { Manifest } from '../manifest/manifest.ts'
import type { BlockPool, NewFile } from '../workers/contract.ts'

/**
 * Creates small files of one directory in the mirror; returns the indexes of those that are correct.
 * `data` has their contents one after the other, and is transferred. `skipped`: positions whose content did not
 * come.
 * Throws SystemCallError.
 */
export async function createSmallFiles(
  pool: BlockPool,
  mirror: Mirror,
  target: Manifest,
  indexes: readonly number[],
  data: Buffer,
  skipped: (position: number) => boolean,
): Promise<number[]> {
  const [head] = indexes
  if (head === undefined) return []
  const files: NewFile[] = []
  const made: { readonly index: number; readonly entry: FileBody }[] = []
  let offset = 0
  for (const [position, index] of indexes.entries()) {
    const entry = target.body(index)
    if (entry.kind !== 'file') throw new TypeError(`entry ${index} is no file`)
    const { mode, uid, gid, mtimeNs, hash, sizeBytes } = entry
    if (!skipped(position)) {
      files.push({ name: target.name(index), mode, uid, gid, mtimeNs, hash, offset, sizeBytes })
      made.push({ index, entry })
    }
    offset += sizeBytes
  }
  const fd = mirror.directory(target, target.parent(head), true)
  try {
    const outcomes = await pool.createFiles(fd, files, data)
    const right: number[] = []
    for (const [nth, { index, entry }] of made.entries()) {
      const outcome = outcomes[nth] ?? 1
      if (outcome > 1) throw failed(target, index, outcome)
      if (outcome === 1) continue
      if (entry.xattrs.length > 0) setAttributes(at(fd, target.name(index)), { ...entry, flags: 0 })
      right.push(index)
    }
    return right
  } finally {
    closeSync(fd)
  }
}

type FileBody = Omit<FileEntry, 'path'>

function failed(target: Manifest, index: number, errno: number): SystemCallError {
  const name = Object.entries(constants.errno).find(([, number]) => number === errno)?.[0] ?? `errno ${errno}`
  return new SystemCallError('create', printable(target.path(index)), name)
}
