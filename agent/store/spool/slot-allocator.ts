import type { Slot } from './spool-index.ts'

/** Blocks begin at a page, so that their holes stay holes. */
const ALIGNMENT_BYTES = 4096

/** Allocates slots in a file that only grows; freed slots of blocks are used again. */
export class SlotAllocator {
  #end = 0
  readonly #free = new Map<number, number[]>()

  /** Allocates a slot for a block; `used`: it holds another block's data. */
  block(sizeBytes: number): Slot & { readonly used: boolean } {
    const again = this.#free.get(sizeBytes)?.pop()
    const offset = again ?? this.#append(sizeBytes, ALIGNMENT_BYTES)
    return { offset, sizeBytes, used: again !== undefined }
  }

  /** Allocates room for small files, one after the other. Never used again: they are of any size. */
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
