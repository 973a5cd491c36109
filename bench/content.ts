import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs'
import { Noise } from './noise.ts'

const PIECE_BYTES = 4 * 1024 ** 2

export interface ContentStretch {
  readonly offset: number
  readonly length: number
}

/** Makes a file of random bytes, the same for the same name. */
export function fill(path: string, sizeBytes: number): void {
  const pieces: ContentStretch[] = []
  for (let offset = 0; offset < sizeBytes; offset += PIECE_BYTES) {
    pieces.push({ offset, length: Math.min(PIECE_BYTES, Math.floor(sizeBytes) - offset) })
  }
  writeFileSync(path, '', { flag: 'wx' })
  overwrite(path, new Noise(path.slice(path.lastIndexOf('/'))), pieces)
}

/** Writes random bytes to places of a file. */
export function overwrite(path: string, noise: Noise, places: readonly ContentStretch[]): void {
  const file = openSync(path, 'r+')
  for (const { offset, length } of places) writeSync(file, noise.bytes(length), 0, length, offset)
  closeSync(file)
}
