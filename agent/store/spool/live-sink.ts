import { blockBytesOf } from '../blocks/block-size.ts'
import type { BlockSink } from '../scan/content-sink.ts'
import { mayBeLeftOut } from './space-limit.ts'
import type { SpoolWriter } from './spool-writer.ts'

/** Has the changed blocks of large files go into the spool as they are hashed. */
export class LiveSink implements BlockSink {
  /** What was copied so. */
  bytes = 0
  readonly #making: SpoolWriter
  readonly #requireSpace: (bytes: number) => Promise<void>

  /** `requireSpace` rejects DISK_FULL where so many bytes do not fit. */
  constructor(making: SpoolWriter, requireSpace: (bytes: number) => Promise<void>) {
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
