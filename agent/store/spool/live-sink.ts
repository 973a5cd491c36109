import { blockBytesOf } from '../blocks/block-size.ts'
import type { BlockKeeping } from '../scan/content-sink.ts'
import { mayBeLeftOut } from './space-limit.ts'
import type { Making } from './spool-writer.ts'

/** Has the changed blocks of large files go into the spool as they are hashed. */
export class KeptBlocks implements BlockKeeping {
  /** What was copied so. */
  bytes = 0
  readonly #making: Making
  readonly #requireSpace: (bytes: number) => Promise<void>

  /** `requireSpace` rejects DISK_FULL where so many bytes do not fit. */
  constructor(making: Making, requireSpace: (bytes: number) => Promise<void>) {
    this.#making = making
    this.#requireSpace = requireSpace
  }

  /** What may have to be left out of the spool is not put there unasked. */
  async wants(sizeBytes: number, blocks: readonly number[]): Promise<boolean> {
    const bytes = blocks.length * blockBytesOf(sizeBytes)
    if (mayBeLeftOut(sizeBytes, bytes)) return false
    await this.#requireSpace(bytes)
    this.bytes += bytes
    return true
  }

  hashBlocks(fd: number, sizeBytes: number, blocks: readonly number[]): Promise<Buffer> {
    return this.#making.copyBlocks(fd, sizeBytes, blocks, null)
  }
}
