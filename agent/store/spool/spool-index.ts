import { createHash } from 'node:crypto'
import { z } from 'zod'
import { HASH_BYTES } from '../blocks/block-size.ts'

/** Hash, offset (8 bytes), length. */
const RECORD_BYTES = HASH_BYTES + 8 + 4
const NEWLINE = 10
const HEADER = z.object({ version: z.literal(1), count: z.int().min(0) })

/** Where a content lies in the spool's data file. */
export interface Slot {
  readonly offset: number
  readonly sizeBytes: number
}

/** The contents of a spool by their hash: blocks of large files and whole small files. */
export class SpoolIndex {
  readonly #slots = new Map<string, Slot>()

  get count(): number {
    return this.#slots.size
  }

  find(hash: Buffer): Slot | undefined {
    return this.#slots.get(hash.toString('latin1'))
  }

  set(hash: Buffer, slot: Slot): void {
    this.#slots.set(hash.toString('latin1'), slot)
  }

  /** Removes all contents but those in `wanted`; returns their slots. */
  retain(wanted: ReadonlySet<string>): Slot[] {
    const freed: Slot[] = []
    for (const [key, slot] of this.#slots) {
      if (wanted.has(key)) continue
      this.#slots.delete(key)
      freed.push(slot)
    }
    return freed
  }

  /** Encodes the index for the disk: a line, the records, and a hash of both. */
  encoded(): Buffer {
    const header = Buffer.from(`${JSON.stringify({ version: 1, count: this.count })}\n`)
    const bytes = Buffer.allocUnsafe(header.length + this.count * RECORD_BYTES + HASH_BYTES)
    let at = header.copy(bytes)
    for (const [key, { offset, sizeBytes }] of this.#slots) {
      at += bytes.write(key, at, 'latin1')
      at = bytes.writeDoubleLE(offset, at)
      at = bytes.writeUInt32LE(sizeBytes, at)
    }
    createHash('sha256').update(bytes.subarray(0, at)).digest().copy(bytes, at)
    return bytes
  }

  /** Decodes an index; null when the bytes are damaged. */
  static decode(bytes: Buffer): SpoolIndex | null {
    const end = bytes.length - HASH_BYTES
    if (end < 0 || !createHash('sha256').update(bytes.subarray(0, end)).digest().equals(bytes.subarray(end)))
      return null
    const start = bytes.indexOf(NEWLINE) + 1
    const header = headerOf(bytes.toString('utf8', 0, start))
    if (header === null || start + header.count * RECORD_BYTES !== end) return null
    const index = new SpoolIndex()
    for (let at = start; at < end; at += RECORD_BYTES) {
      const offset = bytes.readDoubleLE(at + HASH_BYTES)
      const sizeBytes = bytes.readUInt32LE(at + HASH_BYTES + 8)
      if (!Number.isSafeInteger(offset) || offset < 0) return null
      index.set(bytes.subarray(at, at + HASH_BYTES), { offset, sizeBytes })
    }
    return index
  }
}

function headerOf(text: string): z.infer<typeof HEADER> | null {
  try {
    return HEADER.safeParse(JSON.parse(text)).data ?? null
  } catch {
    return null
  }
}
