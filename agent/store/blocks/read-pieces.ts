import { read } from 'node:fs'
import { promisify } from 'node:util'
import type { BufferPool } from '../../runtime/buffer-pool.ts'
import { nextData, nextHole } from '../../sys/files.ts'
import type { Piece } from '../tree-contract.ts'

/**
 * Data is read, and lists are sent, in pieces of at most this size.
 * Pieces of a file end at multiples of it.
 */
export const PIECE_BYTES = 1024 * 1024

const readAsync = promisify(read)

/**
 * Returns the data of an open file between two bytes, holes left out.
 * Reads the next piece while the last is used.
 */
export async function* pieces(memory: BufferPool, fd: number, from: number, to: number): AsyncGenerator<Piece> {
  let pending = ahead(memory, fd, from, to)
  try {
    for (;;) {
      const piece = await pending
      if (piece === null) return
      pending = ahead(memory, fd, piece.offset + piece.data.length, to)
      yield piece
    }
  } finally {
    // The consumer may stop early and close the file: not while a read on its descriptor's number is under way.
    await pending.catch(() => {})
  }
}

/** Starts a read that is awaited later: its failure is kept until then. */
function ahead(memory: BufferPool, fd: number, from: number, to: number): Promise<Piece | null> {
  const piece = readFrom(memory, fd, from, to)
  piece.catch(() => {})
  return piece
}

/**
 * Reads the first piece of data at or after a byte.
 * Null: there is none before `to`, or the file has become shorter.
 */
async function readFrom(memory: BufferPool, fd: number, from: number, to: number): Promise<Piece | null> {
  const offset = from >= to ? null : nextData(fd, from)
  if (offset === null || offset >= to) return null
  const cut = (Math.floor(offset / PIECE_BYTES) + 1) * PIECE_BYTES
  const end = Math.min(nextHole(fd, offset), cut, to)
  const data = memory.take(end - offset)
  for (let done = 0; done < data.length; ) {
    const { bytesRead } = await readAsync(fd, data, done, data.length - done, offset + done)
    if (bytesRead === 0) return null
    done += bytesRead
  }
  return { offset, data }
}
