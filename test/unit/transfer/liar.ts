import { createHash } from 'node:crypto'
import { blockBytesOf, blockCountOf, HASH_BYTES } from '../../../agent/store/blocks/block-size.ts'
import { ManifestBuilder } from '../../../agent/store/manifest/builder.ts'
import type { Manifest } from '../../../agent/store/manifest/manifest.ts'
import type { Body } from '../../../agent/store/manifest/record-codec.ts'
import type { BlockRun, Piece, TreeReader } from '../../../agent/store/tree-contract.ts'

/** One record of a manifest, true or not. */
export interface LiarLine {
  readonly depth: number
  readonly name: string
  readonly body: Body
}

export function linesOf(manifest: Manifest): LiarLine[] {
  return Array.from({ length: manifest.count }, (_, index) => ({
    depth: manifest.depth(index),
    name: manifest.name(index),
    body: manifest.body(index),
  }))
}

/** A manifest that says just that, whether it makes sense or not. */
export function manifestOf(lines: readonly LiarLine[]): Manifest {
  const builder = new ManifestBuilder()
  for (const { depth, name, body } of lines) builder.add(depth, name, body)
  return builder.finish()
}

/** More than a case needs; a list of a file of terabytes is not made. */
const CONTENT_MAX_BYTES = 4 * 1024 * 1024

/**
 * Serves a manifest that may be a lie: answers whatever is asked for it, with the bytes that `content` gives for a
 * path, cut or filled up to the size.
 */
export class Liar implements TreeReader {
  readonly hash: string
  readonly #manifest: Manifest
  readonly #content: (path: string) => Buffer | undefined

  constructor(manifest: Manifest, content: (path: string) => Buffer | undefined) {
    this.#manifest = manifest
    this.#content = content
    this.hash = manifest.hash
  }

  async *manifest(): AsyncGenerator<Buffer> {
    yield* this.#manifest.encoded()
  }

  async files(indexes: readonly number[]) {
    return { data: Buffer.concat(indexes.map((index) => this.#bytes(index))), changed: [] }
  }

  async *hashes(index: number): AsyncGenerator<Buffer> {
    const { sizeBytes } = this.#manifest.file(index)
    if (sizeBytes > CONTENT_MAX_BYTES) {
      // As long as it should be, and nothing like it.
      for (let left = blockCountOf(sizeBytes) * HASH_BYTES; left > 0; left -= CONTENT_MAX_BYTES) {
        yield Buffer.alloc(Math.min(left, CONTENT_MAX_BYTES), 7)
      }
      return
    }
    const data = this.#bytes(index)
    const blockBytes = blockBytesOf(sizeBytes)
    for (let at = 0; at < sizeBytes; at += blockBytes) {
      yield createHash('sha256')
        .update(data.subarray(at, at + blockBytes))
        .digest()
    }
  }

  async *blocks({ index, first, count }: BlockRun): AsyncGenerator<Piece> {
    const { sizeBytes } = this.#manifest.file(index)
    const blockBytes = blockBytesOf(sizeBytes)
    const [start, end] = [first * blockBytes, Math.min((first + count) * blockBytes, sizeBytes)]
    if (sizeBytes > CONTENT_MAX_BYTES) return
    const data = this.#bytes(index)
    for (let offset = start; offset < end; offset += blockBytes) {
      yield { offset, data: Buffer.from(data.subarray(offset, Math.min(offset + blockBytes, end))) }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #bytes(index: number): Buffer {
    const { sizeBytes } = this.#manifest.file(index)
    const data = Buffer.alloc(Math.min(sizeBytes, CONTENT_MAX_BYTES), 9)
    this.#content(this.#manifest.path(index))?.copy(data)
    return data
  }
}
