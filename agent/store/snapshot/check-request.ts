import { WherryError } from '../../model/errors.ts'
import { blockBytesOf, blockCountOf, isHash, isSmall } from '../blocks/block-size.ts'
import { ZeroHashes } from '../blocks/zero-hashes.ts'
import type { FileEntry } from '../manifest/entry.ts'
import type { Manifest } from '../manifest/manifest.ts'
import { type BlockRun, FILES_MAX, FILES_MAX_BYTES, HOLES_MAX_BLOCKS, RUN_MAX_BYTES } from '../tree-contract.ts'

/** Whether an unchecked index is that of a regular file. */
export function isFile(manifest: Manifest, index: number): boolean {
  return Number.isSafeInteger(index) && index >= 0 && index < manifest.count && manifest.kind(index) === 'file'
}

/** Whether a file of this size has these blocks, and they are few enough for one request. */
export function isRunOf(sizeBytes: number, run: Pick<BlockRun, 'first' | 'count'>): boolean {
  return isWithin(sizeBytes, run) && run.count * blockBytesOf(sizeBytes) <= RUN_MAX_BYTES
}

/** As `isRunOf`, for a longer run: only zeros may be, by the file's list (null: not known). */
export function isLongRunOf(sizeBytes: number, run: Pick<BlockRun, 'first' | 'count'>, list: Buffer | null): boolean {
  if (!isWithin(sizeBytes, run) || run.count > HOLES_MAX_BLOCKS) return false
  if (list === null) return true
  const { whole, last } = new ZeroHashes().of(sizeBytes)
  const blocks = blockCountOf(sizeBytes)
  for (let block = run.first; block < run.first + run.count; block++) {
    if (!isHash(list, block, block === blocks - 1 ? last : whole)) return false
  }
  return true
}

function isWithin(sizeBytes: number, { first, count }: Pick<BlockRun, 'first' | 'count'>): boolean {
  const areWhole = Number.isSafeInteger(first) && Number.isSafeInteger(count) && first >= 0 && count > 0
  return areWhole && first + count <= blockCountOf(sizeBytes)
}

/**
 * Returns the requested small files.
 * REQUEST_INVALID: an index is none, or there are too many for one request.
 */
export function smallFiles(manifest: Manifest, indexes: readonly number[]): FileEntry[] {
  let bytes = 0
  const files = indexes.map((index) => {
    const file = fileOf(manifest, index)
    bytes += file.sizeBytes
    if (!isSmall(file.sizeBytes)) throw badRequest(`Entry ${index} is no small file.`)
    return file
  })
  if (files.length === 0 || files.length > FILES_MAX || bytes > FILES_MAX_BYTES) {
    throw badRequest(`${files.length} files of ${bytes} bytes are too many for one request.`)
  }
  return files
}

/** Returns the requested larger file. REQUEST_INVALID: the index is none. */
export function largeFile(manifest: Manifest, index: number): FileEntry {
  const file = fileOf(manifest, index)
  if (isSmall(file.sizeBytes)) throw badRequest(`Entry ${index} is a small file.`)
  return file
}

function fileOf(manifest: Manifest, index: number): FileEntry {
  const entry = isFile(manifest, index) ? manifest.entry(index) : undefined
  if (entry?.kind !== 'file') throw badRequest(`Entry ${index} is no file.`)
  return entry
}

/** REQUEST_INVALID: another host has requested what does not exist. */
export function badRequest(what: string): WherryError {
  return new WherryError('REQUEST_INVALID', what, { hint: 'Use the same version of Wherry on all hosts.' })
}
