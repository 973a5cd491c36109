import { closeSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { BufferPool } from '../../../../agent/runtime/buffer-pool.ts'
import { openRoot } from '../../../../agent/store/inode/directory.ts'
import { readClockAndSync } from '../../../../agent/store/scan/fs-clock.ts'
import { type Scan, type ScanOptions, scanTree } from '../../../../agent/store/scan/scan.ts'
import { openReader } from '../../../../agent/store/snapshot/reader.ts'
import {
  dropSaved,
  type KnownTrees,
  loadKnown,
  type SavedKind,
  saveSnapshot,
  scannedListsPath,
} from '../../../../agent/store/snapshot/saved-snapshot.ts'
import type { TreeReader } from '../../../../agent/store/tree-contract.ts'
import { openBlockPool } from '../../../../agent/store/workers/block-pool.ts'
import type { BlockPool } from '../../../../agent/store/workers/contract.ts'
import { calm, temporaryDirectory } from '../fixture.ts'

type Changes = Partial<
  Pick<ScanOptions, 'signal' | 'content' | 'pool' | 'unchanged' | 'touched' | 'audit' | 'lists' | 'marked' | 'limits'>
>

/** One tree and what is kept of it, captured as the store does it. */
export class CapturedDirectory {
  readonly directory: string
  readonly data: string
  readonly pool: BlockPool = openBlockPool({ threads: 2 })

  constructor(directory: string) {
    this.directory = directory
    this.data = join(directory, 'data')
    mkdirSync(this.data, { recursive: true })
  }

  async capture(kind: 'quiet' | 'live', changes: Changes = {}): Promise<Scan> {
    const known = await loadKnown(this.directory)
    const scan = await this.look(kind === 'quiet', known, changes)
    await saveSnapshot(this.directory, kind === 'quiet' ? 'last' : 'live', scan, known)
    if (kind === 'quiet') await dropSaved(this.directory, 'live')
    return scan
  }

  /** A scan that is not kept. */
  async look(quiet: boolean, known: KnownTrees | null, changes: Changes = {}): Promise<Scan> {
    const tickNs = await readClockAndSync(join(this.directory, 'tick'))
    const root = openRoot(this.data)
    const lists = scannedListsPath(this.directory)
    try {
      return await scanTree(root, {
        volume: 'data',
        quiet,
        tickNs,
        known,
        pool: this.pool,
        signal: calm,
        lists,
        ...changes,
      })
    } finally {
      closeSync(root)
    }
  }

  /** The same pool with some calls replaced. */
  poolWith(calls: Partial<BlockPool>): BlockPool {
    return Object.assign(Object.create(this.pool), calls)
  }

  async reader(kind: SavedKind = 'last'): Promise<TreeReader> {
    const { directory, data, pool } = this
    const reader = await openReader({ directory, kind, data, volume: 'data', pool, memory: new BufferPool() })
    if (reader === null) throw new Error(`nothing is kept as ${kind}`)
    return reader
  }
}

/** `at`: where the copy is made; a directory that goes away with the test when left out. */
export async function captured(t: ExecutionContext, at?: string): Promise<CapturedDirectory> {
  const tree = new CapturedDirectory(at ?? (await temporaryDirectory(t)))
  t.teardown(() => tree.pool[Symbol.asyncDispose]())
  return tree
}
