import type { Slot } from './spool-index.ts'

/** Blocks begin at a page, so that their holes stay holes. */
const ALIGNMENT_BYTES = 4096

/** Gives out places in a file that only grows; places of blocks that are given back are used again. */
export class SlotAllocator {
  #end = 0
  readonly #free = new Map<number, number[]>()

  /** A place for a block; `used`: another block's data are there. */
  block(sizeBytes: number): Slot & { readonly used: boolean } {
    const again = this.#free.get(sizeBytes)?.pop()
    const offset = again ?? this.#append(sizeBytes, ALIGNMENT_BYTES)
    return { offset, sizeBytes, used: again !== undefined }
  }

  /** A place for small files, one after the other. Never used again: they are of any size. */
  pack(sizeBytes: number): number {
    return this.#append(sizeBytes, 1)
  }

  giveBack({ offset, sizeBytes }: Slot): void {
    if (offset % ALIGNMENT_BYTES !== 0) return
    const free = this.#free.get(sizeBytes)
    if (free === undefined) this.#free.set(sizeBytes, [offset])
    else free.push(offset)
  }

  #append(sizeBytes: number, alignment: number): number {
    const offset = Math.ceil(this.#end / alignment) * alignment
    this.#end = offset + sizeBytes
    return offset
  }
}
