import { blockBytesOf } from '../blocks/block-size.ts'
import { ZeroHashes } from '../blocks/zero-hashes.ts'
import type { ContentSink } from '../scan/content-sink.ts'
import { newBlocks } from './missing-content.ts'
import type { Reflinks } from './reflinks.ts'
import type { SpoolWriter } from './spool-writer.ts'

const NO_TAGS = Buffer.alloc(0)

/** Copies what the last scan reads into the spool, and clones what it need not read. */
export class FrozenSink implements ContentSink {
  readonly #writer: SpoolWriter
  readonly #clones: Reflinks | null
  readonly #requireSpace: (bytes: number) => Promise<void>
  readonly #signal: AbortSignal
  readonly #zeros = new ZeroHashes()
  #atOnceBytes: number

  /**
   * `clones` null: the file system has none.
   * `requireSpace` rejects DISK_FULL where so many bytes do not fit.
   * Up to `atOnceBytes` of large files are read without a clone.
   */
  constructor(
    writer: SpoolWriter,
    clones: Reflinks | null,
    atOnceBytes: number,
    requireSpace: (bytes: number) => Promise<void>,
    signal: AbortSignal,
  ) {
    this.#atOnceBytes = atOnceBytes
    this.#writer = writer
    this.#clones = clones
    this.#requireSpace = requireSpace
    this.#signal = signal
  }

  readonly hashFiles: ContentSink['hashFiles'] = (directoryFd, names, sizes) => {
    return this.#writer.spoolFiles(directoryFd, names, sizes)
  }

  async clone(index: number, fd: number, bytes: number): Promise<number | null> {
    if (this.#clones === null) return null
    if (bytes > this.#atOnceBytes) return await this.#clones.take(index, fd)
    this.#atOnceBytes -= bytes
    return null
  }

  async keepBlocks(fd: number, sizeBytes: number, list: Buffer, former: Buffer | null): Promise<boolean> {
    const blocks = this.#writer.lackingBlocks(list, newBlocks(list, former, sizeBytes, this.#zeros))
    if (blocks.length === 0) return true
    await this.#requireSpace(blocks.length * blockBytesOf(sizeBytes))
    let same = true
    await this.#writer.spoolBlocks({ fd, sizeBytes, list, blocks, tags: NO_TAGS }, this.#signal, () => {
      same = false
    })
    return same
  }
}
