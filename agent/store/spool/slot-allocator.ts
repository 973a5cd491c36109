import type { Slot } from './spool-index.ts'

/** Blocks begin at a page, so that their holes stay holes. */
const ALIGNMENT_BYTES = 4096
/** No file may be longer than 16 TiB on ext4; small files move the end further each round. */
const END_MAX_BYTES = 2 * 1024 ** 4
/** Beyond `END_MAX_BYTES`, a file with less than this share in use has moved its end by holes. */
const USED_SHARE = 0.25

/** Allocates slots in a file; freed slots of blocks are used again. */
export class SlotAllocator {
  #end = 0
  #heldBytes = 0
  /** Blocks to use again, by size. */
  readonly #free = new Map<number, number[]>()
  /** Freed slots of small files, joined where they touch. */
  #freePacks: Slot[] = []

  /** Disk space that the contents need: whole pages. */
  get heldBytes(): number {
    return this.#heldBytes
  }

  /** Whether the file is long, and nearly all of it holes: time for another one. */
  get isWornOut(): boolean {
    return this.#end > END_MAX_BYTES && this.#heldBytes < USED_SHARE * this.#end
  }

  /** Allocates a slot for a block; `used`: it holds another block's data. */
  block(sizeBytes: number): Slot & { readonly used: boolean } {
    const again = this.#free.get(sizeBytes)?.pop()
    const offset = again ?? this.#append(sizeBytes, ALIGNMENT_BYTES)
    this.#heldBytes += pagesOf(sizeBytes)
    return { offset, sizeBytes, used: again !== undefined }
  }

  /** Allocates room for small files, one after the other. Never used again: they are of any size. */
  pack(sizes: readonly number[]): number {
    for (const sizeBytes of sizes) this.#heldBytes += pagesOf(sizeBytes)
    return this.#append(
      sizes.reduce((sum, sizeBytes) => sum + sizeBytes, 0),
      1,
    )
  }

  giveBack(slot: Slot): void {
    const { offset, sizeBytes } = slot
    this.#heldBytes -= pagesOf(sizeBytes)
    if (offset % ALIGNMENT_BYTES !== 0) {
      this.#freePacks.push(slot)
      return
    }
    const free = this.#free.get(sizeBytes)
    if (free === undefined) this.#free.set(sizeBytes, [offset])
    else free.push(offset)
  }

  /** Returns all space that is in no use; blocks may be used again all the same. */
  unused(): Slot[] {
    this.#freePacks = joined(this.#freePacks)
    const blocks = [...this.#free].flatMap(([sizeBytes, offsets]) => offsets.map((offset) => ({ offset, sizeBytes })))
    return [...this.#freePacks, ...blocks]
  }

  #append(sizeBytes: number, alignment: number): number {
    const offset = Math.ceil(this.#end / alignment) * alignment
    this.#end = offset + sizeBytes
    return offset
  }
}

function pagesOf(sizeBytes: number): number {
  return Math.ceil(sizeBytes / ALIGNMENT_BYTES) * ALIGNMENT_BYTES
}

/** Joins slots that touch: only whole pages can be given back to the disk. */
function joined(slots: Slot[]): Slot[] {
  const runs: Slot[] = []
  for (const slot of slots.sort((a, b) => a.offset - b.offset)) {
    const last = runs.at(-1)
    if (last === undefined || last.offset + last.sizeBytes !== slot.offset) runs.push(slot)
    else runs[runs.length - 1] = { offset: last.offset, sizeBytes: last.sizeBytes + slot.sizeBytes }
  }
  return runs
}
