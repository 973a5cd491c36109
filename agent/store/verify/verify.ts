import { closeSync } from 'node:fs'
import { forEachLimit } from '../../runtime/for-each-limit.ts'
import { errnoOf, isDiskFailure } from '../../sys/failure.ts'
import { dropCached } from '../../sys/files.ts'
import { blockBytesOf, blockCountOf, HASH_BYTES, isHash, sameHash } from '../blocks/block-size.ts'
import { dataBlocks, holesList } from '../blocks/data-blocks.ts'
import type { Damage } from '../contract.ts'
import { openFile, openOwn } from '../inode/directory.ts'
import type { Mirror } from '../inode/mirror.ts'
import { printable } from '../manifest/byte-path.ts'
import { sameButContent } from '../manifest/comparison.ts'
import { groupSmallFiles } from '../manifest/file-groups.ts'
import { joinManifests } from '../manifest/join.ts'
import type { Manifest } from '../manifest/manifest.ts'
import { hashOfList } from '../snapshot/block-lists.ts'
import type { BlockLists } from '../snapshot/snapshot.ts'
import { RUN_MAX_BYTES } from '../tree-contract.ts'
import type { BlockPool } from '../workers/contract.ts'
import { attributeDifference } from './attribute-difference.ts'

/** Enough to see what happened; a copy with more is fetched again all the same. */
const REPORTED_MAX = 1000

/** What was found so far. Indexes are those of the manifest that was checked against. */
export class Findings {
  filesChecked = 0
  bytesRead = 0
  /** Entries that must be scanned again before their state counts; for an extra entry its directory. */
  readonly suspect = new Set<number>()
  readonly damaged: Damage[] = []
  damagedCount = 0

  add(index: number, path: string, reason: Damage['reason'], blocks = 0, detail: string | null = null): void {
    this.suspect.add(index)
    this.damagedCount += 1
    if (this.damaged.length < REPORTED_MAX) this.damaged.push({ path: printable(path), reason, detail, blocks })
  }
}

/**
 * Compares names, kinds, links and attributes; `is` describes the tree as it is, without contents.
 * Returns the regular files (by index in `wanted`) whose content can be compared.
 */
export function compareEntries(wanted: Manifest, is: Manifest, findings: Findings): number[] {
  const files: number[] = []
  for (const { a, b } of joinManifests(wanted, is)) {
    if (a < 0) findings.add(ancestorIn(wanted, is, b), is.path(b), 'extra')
    else if (b < 0) findings.add(a, wanted.path(a), 'missing')
    else if (wanted.kind(a) !== is.kind(b)) findings.add(a, wanted.path(a), 'kind')
    else {
      if (wanted.kind(a) === 'file') compareSizes(wanted, a, is, b, findings, files)
      if (!wanted.sameRecord(a, is, b) && !sameButContent(wanted, a, is, b)) {
        const [should, does] = [wanted.body(a), is.body(b)]
        const detail = should.kind === 'link' || does.kind === 'link' ? null : attributeDifference(should, does)
        findings.add(a, wanted.path(a), 'attributes', 0, detail)
      }
    }
  }
  return files
}

/** A file of another length is damaged, whatever it contains. */
function compareSizes(wanted: Manifest, a: number, is: Manifest, b: number, findings: Findings, files: number[]): void {
  const [should, does] = [wanted.file(a).sizeBytes, is.file(b).sizeBytes]
  if (should === does) files.push(a)
  else findings.add(a, wanted.path(a), 'content', Math.max(1, Math.abs(blockCountOf(should) - blockCountOf(does))))
}

/** Returns the directory of `wanted` that holds an extra entry, or that holds the extra directory it is in. */
function ancestorIn(wanted: Manifest, is: Manifest, extra: number): number {
  for (let at = is.parent(extra); at > 0; at = is.parent(at)) {
    const index = wanted.find(is.path(at))
    if (index >= 0) return index
  }
  return 0
}

export interface ContentParts {
  readonly tree: Mirror
  readonly manifest: Manifest
  readonly lists: BlockLists
  readonly pool: BlockPool
  readonly signal: AbortSignal
}

/**
 * Reads files from the disk and compares their content with the manifest, block by block.
 * `files` are indexes of the manifest, at its paths. Rejects the signal's reason.
 * Call it after a sync: for unwritten data the kernel shows what is in memory, not what is on the disk.
 * A file that cannot be read is damaged, not a failure.
 */
export async function compareContent(parts: ContentParts, files: readonly number[], findings: Findings): Promise<void> {
  const small = files.filter((index) => !parts.manifest.isLarge(index))
  const large = files.filter((index) => parts.manifest.isLarge(index))
  await forEachLimit(groupSmallFiles(parts.manifest, small), parts.pool.threads, async (group) => {
    parts.signal.throwIfAborted()
    await compareSmall(parts, group, findings)
  })
  for (const index of large) {
    try {
      await compareLarge(parts, index, findings)
    } catch (error) {
      // Its inode, or the map of its data: nothing of it can be read.
      if (!isDiskFailure(errnoOf(error))) throw error
      const { manifest } = parts
      findings.add(index, manifest.path(index), 'unreadable', blockCountOf(manifest.file(index).sizeBytes))
    }
  }
}

/** Compares files of one directory. */
async function compareSmall(parts: ContentParts, group: readonly number[], findings: Findings): Promise<void> {
  const { manifest, tree, pool } = parts
  const facts = group.map((index) => manifest.file(index))
  const names = group.map((index) => manifest.name(index))
  const directory = tree.directory(manifest, manifest.parent(group[0] ?? 0))
  try {
    const sizes = facts.map(({ sizeBytes }) => sizeBytes)
    for (const name of names) forgetCached(directory, name)
    const { hashes, outcomes } = await pool.hashFiles(directory, names, sizes)
    for (const [nth, index] of group.entries()) {
      const { sizeBytes, hash } = facts[nth] ?? manifest.file(index)
      const outcome = outcomes[nth] ?? 0
      findings.filesChecked += 1
      findings.bytesRead += sizeBytes
      if (outcome > 1) findings.add(index, manifest.path(index), 'unreadable', 1)
      else if (outcome === 1 || !isHash(hashes, nth, hash)) findings.add(index, manifest.path(index), 'content', 1)
    }
  } finally {
    closeSync(directory)
  }
}

/** A file that cannot be opened is found when it is read. */
function forgetCached(directory: number, name: string): void {
  let fd: number
  try {
    fd = openFile(directory, name)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return
  }
  try {
    dropCached(fd)
  } finally {
    closeSync(fd)
  }
}

async function compareLarge(parts: ContentParts, index: number, findings: Findings): Promise<void> {
  const { manifest } = parts
  const { sizeBytes, hash } = manifest.file(index)
  const count = blockCountOf(sizeBytes)
  const list = await parts.lists.list(index)
  findings.filesChecked += 1
  findings.bytesRead += sizeBytes
  const fd = parts.tree.within(manifest, index, openOwn)
  try {
    dropCached(fd)
    const { is, unreadable } = await readHashes(parts, fd, sizeBytes)
    // Without its list the file can only be compared as a whole.
    const whole = list === null && !hashOfList(is).equals(hash) ? count : 0
    const different = list === null ? whole : differences(is, list, count)
    if (different > 0) findings.add(index, manifest.path(index), unreadable ? 'unreadable' : 'content', different)
  } finally {
    closeSync(fd)
  }
}

/** Hashes all blocks of an open file; an unreadable block gets zeros, which are no data's hash. */
async function readHashes(
  { pool, signal }: ContentParts,
  fd: number,
  sizeBytes: number,
): Promise<{ is: Buffer; unreadable: boolean }> {
  const is = holesList(sizeBytes)
  let unreadable = false
  const hash = async (first: number, blocks: number): Promise<void> => {
    signal.throwIfAborted()
    try {
      const hashes = await pool.hashBlocks(fd, sizeBytes, first, blocks)
      hashes.copy(is, first * HASH_BYTES)
    } catch (error) {
      if (!isDiskFailure(errnoOf(error))) throw error
      unreadable = true
      is.fill(0, first * HASH_BYTES, (first + blocks) * HASH_BYTES)
      if (blocks > 1) for (let block = first; block < first + blocks; block++) await hash(block, 1)
    }
  }
  const calls = dataBlocks(fd, sizeBytes, RUN_MAX_BYTES / blockBytesOf(sizeBytes))
  await forEachLimit(calls, pool.threads, ({ first, count: blocks }) => hash(first, blocks))
  return { is, unreadable }
}

function differences(is: Buffer, list: Buffer, count: number): number {
  let different = 0
  for (let block = 0; block < count; block++) if (!sameHash(is, list, block)) different += 1
  return different
}
