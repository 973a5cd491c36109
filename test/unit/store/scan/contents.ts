import { createHash } from 'node:crypto'
import { blockBytesOf, isSmall } from '../../../../agent/store/blocks/block-size.ts'
import type { Scan } from '../../../../agent/store/scan/scan.ts'

/** Longer than a clock tick of any kernel: what was written before is clean for the next capture. */
export const TICKS_MS = 30
export const LARGE_BYTES = 300_000

export const sha = (data: Buffer) => createHash('sha256').update(data).digest()

/** List of block hashes of a content, and a file's hash, worked out in the simplest way. */
export function blockListOf(content: Buffer): Buffer {
  const blockBytes = blockBytesOf(content.length)
  const count = Math.ceil(content.length / blockBytes)
  return Buffer.concat(
    Array.from({ length: count }, (_, nth) => sha(content.subarray(nth * blockBytes, (nth + 1) * blockBytes))),
  )
}

export function hashOfContent(content: Buffer): Buffer {
  return sha(isSmall(content.length) ? content : blockListOf(content))
}

export function hashAt(scan: Scan, path: string): Buffer {
  const entry = scan.manifest.entry(scan.manifest.find(path))
  if (entry.kind !== 'file') throw new Error(`${path} is a ${entry.kind}`)
  return entry.hash
}
