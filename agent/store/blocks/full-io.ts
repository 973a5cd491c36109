import { readSync, writeSync } from 'node:fs'

/** Reads until `length` bytes have come or the file ends; returns how many came. */
export function readFully(fd: number, into: Buffer, at: number, length: number, position: number): number {
  let got = 0
  while (got < length) {
    const more = readSync(fd, into, at + got, length - got, position + got)
    if (more === 0) break
    got += more
  }
  return got
}

/** Writes all of `data`; the kernel may take it in pieces. */
export function writeFully(fd: number, data: Uint8Array, position: number): void {
  for (let done = 0; done < data.length; ) {
    done += writeSync(fd, data, done, data.length - done, position + done)
  }
}
