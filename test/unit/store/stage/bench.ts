import { mkdirSync, statSync } from 'node:fs'
import type { ExecutionContext } from 'ava'
import { layoutOf } from '../../../../agent/store/disk/layout.ts'
import { planChanges } from '../../../../agent/store/manifest/plan.ts'
import { Stage } from '../../../../agent/store/stage/stage.ts'
import { StageWriter } from '../../../../agent/store/stage/stage-writer.ts'
import { openBlockPool } from '../../../../agent/store/workers/block-pool.ts'
import type { BlockPool } from '../../../../agent/store/workers/contract.ts'
import { answer, calm, temporaryDirectory } from '../fixture.ts'
import { TestTree } from './test-tree.ts'

export const BLOCK_BYTES = 16_384
export const MIB = 1024 * 1024

export interface Bench {
  readonly source: string
  readonly data: string
  readonly stageDir: string
  /** What was read and hashed again. */
  readonly hashed: { blocks: number; files: number }
  /** How many blocks were written with each call. */
  readonly written: number[]
  readonly stage: () => Stage
  /** As after a restart of the process. */
  readonly restart: () => void
  readonly writer: () => StageWriter
  readonly missing: () => Promise<number>
}

/** A tree, a stage for it, and what has to be hashed again is counted. */
export async function bench(t: ExecutionContext): Promise<Bench> {
  const [source, state] = [await temporaryDirectory(t), await temporaryDirectory(t)]
  const layout = layoutOf(state, 'v')
  mkdirSync(layout.data, { recursive: true })
  const hashed = { blocks: 0, files: 0 }
  const written: number[] = []
  const pool = countingPool(t, hashed, written)
  let stage = new Stage(layout, 'v', pool)
  const scan = async () => new TestTree(layout.data).snapshot()
  return {
    source,
    data: layout.data,
    stageDir: layout.stage,
    hashed,
    written,
    stage: () => stage,
    restart: () => {
      stage = new Stage(layout, 'v', pool)
    },
    writer: () => new StageWriter({ layout, volume: 'v', stage, scan, closed: () => {} }),
    missing: async () => {
      const target = await stage.target()
      if (target === null) throw new Error('nothing staged')
      const mine = await scan()
      return await stage.missing(planChanges(target, mine.manifest), mine, calm)
    },
  }
}

function countingPool(t: ExecutionContext, hashed: { blocks: number; files: number }, written: number[]): BlockPool {
  const pool = openBlockPool({ threads: 2 })
  t.teardown(() => pool[Symbol.asyncDispose]())
  const counting: Partial<BlockPool> = {
    hashBlocks: (fd, sizeBytes, first, count) => {
      hashed.blocks += count
      return pool.hashBlocks(fd, sizeBytes, first, count)
    },
    writeBlocks: (task) => {
      written.push(task.blocks.length)
      return pool.writeBlocks(task)
    },
    hashFiles: (fd, names, sizes) => {
      hashed.files += names.length
      return pool.hashFiles(fd, names, sizes)
    },
  }
  return { ...pool, ...counting, threads: pool.threads }
}

/** Brings in the source as it is now, answering at most so many wants of data; answers bytes that were sent. */
export async function pull(b: Bench, wants = Number.POSITIVE_INFINITY): Promise<{ bytes: number; complete: boolean }> {
  const reader = new TestTree(b.source)
  await using writer = b.writer()
  await writer.begin(reader.manifest())
  let [bytes, answered] = [0, 0]
  for (;;) {
    const want = await writer.next()
    if (want === null) break
    if (want.kind !== 'hashes' && answered++ === wants) return { bytes, complete: false }
    bytes += await answer(reader, writer, want)
  }
  return { bytes, complete: await writer.finish() }
}

/** Bytes a file takes on the disk. */
export function allocated(path: string): number {
  return statSync(path).blocks * 512
}
