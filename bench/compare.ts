import { closeSync, openSync, readSync } from 'node:fs'
import { run } from '../lab/command.ts'
import type { Case, CaseExtent } from './cases.ts'
import { RSYNC_FLAGS } from './rsync.ts'

/** Reading both trees in full, at most. */
const TIMEOUT_MS = 20 * 60_000
/** A receiver may take this much more disk than the source: directories and extent trees differ. */
const ALLOCATION_SLACK = 1.1
/** In a file known to the extent, a few blocks for the extent tree; nothing else may be allocated. */
const EXTENT_TREE_KILOBYTES = 64
const BLOCK_BYTES = 4096

type Compared = Pick<Case, 'name' | 'extents'>

/** Rejects when Wherry's receiver is not the source, to the byte, the nanosecond and, for sparse files, the hole. */
export async function compare(which: Compared, scale: number, source: string, receiver: string): Promise<void> {
  const extents = which.extents?.(scale)
  // Reading 20 GiB of zeros twice would say no more than that nothing is allocated there.
  const content = extents === undefined ? ['--checksum'] : []
  const flags = [...RSYNC_FLAGS, ...content, '--dry-run', '--modify-window=-1', '--itemize-changes']
  const { stdout } = await run('rsync', [...flags, `${source}/`, `${receiver}/`], { timeoutMs: TIMEOUT_MS })
  if (stdout !== '') throw differs(which, stdout.slice(0, 2_000))
  if (extents !== undefined) compareExtents(which, extents, source, receiver)
  const [mine, theirs] = await Promise.all([allocatedKilobytes(source), allocatedKilobytes(receiver)])
  const limit = extents === undefined ? mine * ALLOCATION_SLACK : mine + EXTENT_TREE_KILOBYTES
  if (theirs > limit) throw differs(which, `${theirs} KiB allocated, in the source ${mine} KiB`)
}

function differs(which: Compared, how: string): Error {
  return new Error(`${which.name}: Wherry's receiver differs from the source:\n${how}`)
}

function compareExtents(which: Compared, extents: readonly CaseExtent[], source: string, receiver: string): void {
  for (const extent of extents) {
    if (readExtent(source, extent).equals(readExtent(receiver, extent))) continue
    throw differs(which, `${extent.file} at byte ${extent.offset}`)
  }
}

/** Up to the end of the last block: what lies behind the data there is the file's content, too. */
function readExtent(tree: string, { file, offset, length }: CaseExtent): Buffer {
  const into = Buffer.alloc(Math.ceil(length / BLOCK_BYTES) * BLOCK_BYTES)
  const fd = openSync(`${tree}/${file}`, 'r')
  readSync(fd, into, 0, into.length, offset)
  closeSync(fd)
  return into
}

async function allocatedKilobytes(tree: string): Promise<number> {
  return Number.parseInt((await run('du', ['-sk', tree])).stdout, 10)
}
