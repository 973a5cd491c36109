import { execFileSync } from 'node:child_process'
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs'
import { dropCached } from '../../../agent/sys/files.ts'
import { imageOf } from './file-systems.ts'

/**
 * Changes bytes of a file without its file system's knowledge, as a failing disk does.
 * It writes to the image of `root`'s file system. Inode and times stay as they are; the next read gets the new
 * bytes.
 * Within one block of the file system.
 */
export function writeBelow(root: string, file: string, at: number, data: Buffer): void {
  const fd = openSync(file, 'r')
  fsyncSync(fd)
  const image = openSync(imageOf(root), 'r+')
  writeSync(image, data, 0, data.length, placeOf(file, at))
  closeSync(image)
  dropCached(fd)
  closeSync(fd)
}

/** Where a byte of a file lies in its file system (filefrag(8)). */
function placeOf(file: string, at: number): number {
  const lines = execFileSync('filefrag', ['-v', file], { encoding: 'utf8' })
  const blockBytes = Number(/blocks of (\d+) bytes/.exec(lines)?.[1])
  const block = Math.floor(at / blockBytes)
  for (const [, first, last, place] of lines.matchAll(/^\s*\d+:\s+(\d+)\.\.\s*(\d+):\s+(\d+)\.\./gm)) {
    if (block >= Number(first) && block <= Number(last))
      return (Number(place) + block - Number(first)) * blockBytes + (at % blockBytes)
  }
  throw new Error(`byte ${at} of ${file} is not on the disk:\n${lines}`)
}
