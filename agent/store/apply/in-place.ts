import { closeSync, constants, ftruncate, openSync } from 'node:fs'
import { promisify } from 'node:util'
import { blockBytesOf } from '../blocks/block-size.ts'
import { DirectoryCursor, openRoot } from '../inode/directory.ts'
import type { Manifest } from '../manifest/manifest.ts'
import type { Plan } from '../manifest/plan.ts'
import type { Snapshot } from '../snapshot/snapshot.ts'
import type { Stage } from '../stage/stage.ts'
import type { BlockRun } from '../tree-contract.ts'
import type { BlockPool } from '../workers/contract.ts'

const { O_RDONLY, O_RDWR, O_NOFOLLOW, O_NONBLOCK } = constants
const ftruncateAsync = promisify(ftruncate)

export interface InPlaceParts {
  readonly plan: Plan
  readonly mine: Snapshot
  readonly stage: Stage
  readonly pool: BlockPool
}

/**
 * Makes a large file's content equal to the target (step `blocks`) and keeps its inode. Not synced.
 * The new size comes first, then the staged blocks. After a crash in between, all differing blocks are in the
 * stage.
 */
export async function writeInPlace(parts: InPlaceParts, index: number, place: Buffer): Promise<void> {
  const { plan, mine, stage, pool } = parts
  const { sizeBytes } = plan.target.file(index)
  const own = await stage.ownList(plan, index, mine, new AbortController().signal)
  const runs = await stage.changedBlocks(index, own)
  const file = openSync(place, O_RDWR | O_NOFOLLOW | O_NONBLOCK)
  try {
    if (mine.manifest.file(plan.partner(index)).sizeBytes !== sizeBytes) await ftruncateAsync(file, sizeBytes)
    if (runs.length === 0) return
    await withStaged(stage.blocksRoot, plan.target, index, async (from) => {
      await pool.copyRanges(from, file, rangesOf(runs, sizeBytes))
    })
  } finally {
    closeSync(file)
  }
}

async function withStaged(
  root: string,
  target: Manifest,
  index: number,
  work: (fd: number) => Promise<void>,
): Promise<void> {
  const mirror = openRoot(root)
  try {
    using cursor = new DirectoryCursor(mirror, target)
    const from = openSync(cursor.locate(index), O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
    try {
      await work(from)
    } finally {
      closeSync(from)
    }
  } finally {
    closeSync(mirror)
  }
}

function rangesOf(runs: readonly BlockRun[], sizeBytes: number): { offset: number; length: number }[] {
  const blockBytes = blockBytesOf(sizeBytes)
  return runs.map(({ first, count }) => {
    const offset = first * blockBytes
    return { offset, length: Math.min(count * blockBytes, sizeBytes - offset) }
  })
}
