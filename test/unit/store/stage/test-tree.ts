import { createHash } from 'node:crypto'
import { closeSync, lstatSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { WherryError } from '../../../../agent/model/errors.ts'
import { blockBytesOf, isSmall } from '../../../../agent/store/blocks/block-size.ts'
import { ManifestBuilder } from '../../../../agent/store/manifest/builder.ts'
import type { Manifest } from '../../../../agent/store/manifest/manifest.ts'
import type { Snapshot } from '../../../../agent/store/snapshot/snapshot.ts'
import type { BlockRun, Piece, TreeReader } from '../../../../agent/store/tree-contract.ts'
import { nextData } from '../../../../agent/sys/files.ts'

const sha = (data: Buffer) => createHash('sha256').update(data).digest()

/** A tree of directories and regular files (names in ASCII), described and read in the simplest way there is. */
export class TestTree implements TreeReader {
  readonly root: string
  readonly tree: Manifest
  readonly #paths: string[] = []
  readonly #lists = new Map<number, Buffer>()

  constructor(root: string) {
    this.root = root
    const builder = new ManifestBuilder()
    this.#add(builder, root, '', 0)
    this.tree = builder.finish()
  }

  get hash(): string {
    return this.tree.hash
  }

  #add(builder: ManifestBuilder, path: string, name: string, depth: number): void {
    const stat = lstatSync(path, { bigint: true })
    const attributes = {
      mode: Number(stat.mode) & 0o7777,
      uid: Number(stat.uid),
      gid: Number(stat.gid),
      mtimeNs: stat.mtimeNs,
      flags: 0,
      xattrs: [],
    }
    this.#paths.push(path)
    if (stat.isDirectory()) {
      builder.add(depth, name, { kind: 'dir', ...attributes })
      for (const child of readdirSync(path).sort()) this.#add(builder, join(path, child), child, depth + 1)
      return
    }
    const sizeBytes = Number(stat.size)
    const list = isSmall(sizeBytes) ? null : listOf(path, sizeBytes)
    const hash = sha(list ?? readFileSync(path))
    const index = builder.add(depth, name, { kind: 'file', ...attributes, sizeBytes, hash })
    if (list !== null) this.#lists.set(index, list)
  }

  index(path: string): number {
    return this.tree.find(path)
  }

  snapshot(): Snapshot {
    const seen = { ino: () => 1n, ctimeNs: () => 1n, clean: () => true }
    return { manifest: this.tree, seen, lists: { list: async (index) => this.#lists.get(index) ?? null } }
  }

  async *manifest(): AsyncGenerator<Buffer> {
    yield* this.tree.encoded()
  }

  async files(indexes: readonly number[]): Promise<{ data: Buffer; changed: number[] }> {
    return { data: Buffer.concat(indexes.map((index) => readFileSync(this.#paths[index] ?? ''))), changed: [] }
  }

  async *hashes(index: number): AsyncGenerator<Buffer> {
    const list = this.#lists.get(index)
    if (list === undefined) throw new WherryError('REQUEST_INVALID', `no list of ${index}`)
    yield Buffer.from(list)
  }

  /** Whole blocks of zeros are left out, as holes are. */
  async *blocks(run: BlockRun): AsyncGenerator<Piece> {
    const { sizeBytes } = this.tree.file(run.index)
    const blockBytes = blockBytesOf(sizeBytes)
    const fd = openSync(this.#paths[run.index] ?? '', 'r')
    try {
      for (let block = run.first; block < run.first + run.count; block++) {
        const data = Buffer.alloc(Math.min(blockBytes, sizeBytes - block * blockBytes))
        readSync(fd, data, 0, data.length, block * blockBytes)
        if (data.some((byte) => byte !== 0)) yield { offset: block * blockBytes, data }
      }
    } finally {
      closeSync(fd)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

function listOf(path: string, sizeBytes: number): Buffer {
  const blockBytes = blockBytesOf(sizeBytes)
  const hole = sha(Buffer.alloc(blockBytes))
  const hashes: Buffer[] = []
  const fd = openSync(path, 'r')
  for (let start = 0; start < sizeBytes; start += blockBytes) {
    const data = Buffer.alloc(Math.min(blockBytes, sizeBytes - start))
    const next = nextData(fd, start)
    const empty = next === null || next >= start + blockBytes
    if (!empty) readSync(fd, data, 0, data.length, start)
    hashes.push(empty && data.length === blockBytes ? hole : sha(data))
  }
  closeSync(fd)
  return Buffer.concat(hashes)
}
