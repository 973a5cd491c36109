import { blockBytesOf } from '../blocks/block-size.ts'
import type { BlockSink } from '../scan/content-sink.ts'
import { mayBeLeftOut } from './space-limit.ts'
import type { SpoolWriter } from './spool-writer.ts'

/** Copies changed blocks of large files into the spool as they are hashed. */
export class LiveSink implements BlockSink {
  /** Bytes that were copied so. */
  bytes = 0
  readonly #writer: SpoolWriter
  readonly #requireSpace: (bytes: number) => Promise<void>

  /** `requireSpace` rejects DISK_FULL where so many bytes do not fit. */
  constructor(writer: SpoolWriter, requireSpace: (bytes: number) => Promise<void>) {
    this.#writer = writer
    this.#requireSpace = requireSpace
  }

  /** Content that may have to be left out of the spool is not copied here. */
  async accepts(sizeBytes: number, blocks: readonly number[]): Promise<boolean> {
    const bytes = blocks.length * blockBytesOf(sizeBytes)
    if (mayBeLeftOut(sizeBytes, bytes)) return false
    await this.#requireSpace(bytes)
    this.bytes += bytes
    return true
  }

  hashBlocks(fd: number, sizeBytes: number, blocks: readonly number[]): Promise<Buffer> {
    return this.#writer.copyBlocks(fd, sizeBytes, blocks, null)
  }
}
