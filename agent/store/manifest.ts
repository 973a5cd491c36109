import { createHash } from 'node:crypto'
import { WherryError } from '../errors.ts'
import { type Entry, hashedLine, parseLine, storedLine } from './entry.ts'
import { Pace } from './pace.ts'
import { type BytePath, comesBefore, parentOf, pathFault, printable } from './path.ts'

const VERSION = 1
const HEADER = JSON.stringify({ wherry: 'manifest', version: VERSION })
/** A longest path, fully escaped, and more extended attributes than ext4 can hold fit; a hostile line does not fill the memory. */
export const MAX_LINE_BYTES = 1024 * 1024
/** All entries are in memory at once, about 500 bytes each. */
export const MAX_ENTRIES = 5_000_000
/** 5 million entries of usual length; the stream of a hostile sender ends here. */
const MAX_MANIFEST_BYTES = 2 * 1024 ** 3
const CHUNK_BYTES = 256 * 1024

/** A tree's description: entries in tree order (a directory, all that is in it, its next sibling), the root ('') first. */
export interface Manifest {
  readonly entries: readonly Entry[]
  /** Hex SHA-256 over the entries' canonical lines. */
  readonly hash: string
  /** Sum of the sizes of all regular files, each inode once. */
  readonly bytes: number
  /** Entries of any kind without the root. */
  readonly files: number
}

/** Makes a manifest of entries that are in tree order already. */
export async function makeManifest(entries: readonly Entry[]): Promise<Manifest> {
  const hash = createHash('sha256')
  const pace = new Pace()
  let bytes = 0
  for (const entry of entries) {
    hash.update(`${hashedLine(entry)}\n`)
    if (entry.kind === 'file') bytes += entry.sizeBytes
    if (pace.due()) await pace.rest()
  }
  return { entries, hash: hash.digest('hex'), bytes, files: entries.length - 1 }
}

/**
 * Encodes a manifest: one JSON line per entry, a header line with the version before and a line with the count after
 * them, so that a cut stream is noticed. Bytes of names stand as the characters U+0001 to U+00FF.
 */
export async function* encodeManifest(manifest: Manifest): AsyncGenerator<Buffer> {
  let text = `${HEADER}\n`
  for (const entry of manifest.entries) {
    text += `${storedLine(entry)}\n`
    if (text.length < CHUNK_BYTES) continue
    yield Buffer.from(text)
    text = ''
  }
  yield Buffer.from(`${text}${JSON.stringify({ end: manifest.entries.length })}\n`)
}

/** Decodes what may come from an enemy; rejects MANIFEST_INVALID, naming the line. Memory is bounded by the limits above. */
export async function decodeManifest(chunks: AsyncIterable<Buffer>): Promise<Manifest> {
  const decoder = new Decoder()
  for await (const line of splitLines(chunks)) decoder.take(line)
  return decoder.end()
}

class Decoder {
  readonly #hash = createHash('sha256')
  readonly #entries: Entry[] = []
  /** Directories from the root to the last entry's place. */
  readonly #open: BytePath[] = []
  /** Paths a hard link may name. */
  readonly #linkable = new Set<BytePath>()
  #bytes = 0
  #lines = 0
  #ended = false

  take(line: string): void {
    this.#lines += 1
    if (this.#ended) throw this.#invalid('data after the end')
    if (this.#lines === 1) this.#header(line)
    else if (line.startsWith('{"end":')) this.#end(line)
    else this.#entry(line)
  }

  end(): Manifest {
    if (!this.#ended) throw this.#invalid('cut off before the end')
    const files = this.#entries.length - 1
    return { entries: this.#entries, hash: this.#hash.digest('hex'), bytes: this.#bytes, files }
  }

  #header(line: string): void {
    if (line !== HEADER) throw this.#invalid(`not a manifest of version ${VERSION}`)
  }

  #end(line: string): void {
    if (this.#entries.length === 0) throw this.#invalid('no root directory')
    if (line !== JSON.stringify({ end: this.#entries.length })) throw this.#invalid('wrong number of entries')
    this.#ended = true
  }

  #entry(line: string): void {
    if (this.#entries.length >= MAX_ENTRIES) throw this.#invalid('too many entries')
    let entry: Entry
    try {
      entry = parseLine(line)
    } catch (error) {
      throw this.#invalid('malformed entry', error)
    }
    this.#check(entry)
    this.#entries.push(entry)
    const hinted = entry.kind === 'file' && entry.allocatedBytes !== undefined
    this.#hash.update(`${hinted ? hashedLine(entry) : line}\n`)
    if (entry.kind === 'file') this.#bytes += entry.sizeBytes
    if (!Number.isSafeInteger(this.#bytes)) throw this.#invalid('sizes beyond any disk')
  }

  #check(entry: Entry): void {
    const fault = pathFault(entry.path)
    if (fault !== null) throw this.#invalid(fault)
    const previous = this.#entries.at(-1)
    if (previous === undefined) {
      if (entry.path !== '' || entry.kind !== 'dir') throw this.#invalid('the first entry is not the root directory')
    } else {
      if (!comesBefore(previous.path, entry.path)) throw this.#invalid('entries out of order')
      const parent = parentOf(entry.path)
      while (this.#open.length > 0 && this.#open.at(-1) !== parent) this.#open.pop()
      if (this.#open.length === 0) throw this.#invalid('parent is missing or no directory')
    }
    if (entry.kind === 'dir') this.#open.push(entry.path)
    else if (entry.kind !== 'link') this.#linkable.add(entry.path)
    else if (!this.#linkable.has(entry.to)) throw this.#invalid('hard link to nothing')
  }

  #invalid(reason: string, cause?: unknown): WherryError {
    const last = this.#entries.at(-1)
    const place = last === undefined ? '' : ` (after ${printable(last.path)})`
    return new WherryError('MANIFEST_INVALID', `The manifest is invalid in line ${this.#lines}${place}: ${reason}.`, {
      hint: 'Use the same version of Wherry on all hosts; if they are, the sender or its disk is damaged.',
      cause,
    })
  }
}

async function* splitLines(chunks: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const pace = new Pace()
  let rest: Buffer = Buffer.alloc(0)
  let total = 0
  for await (const chunk of chunks) {
    total += chunk.length
    if (total > MAX_MANIFEST_BYTES) throw new WherryError('MANIFEST_INVALID', 'The manifest is longer than any may be.')
    const data = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    let start = 0
    for (let end = data.indexOf(10); end >= 0; end = data.indexOf(10, start)) {
      if (end - start > MAX_LINE_BYTES) break
      yield data.toString('utf8', start, end)
      start = end + 1
      if (pace.due()) await pace.rest()
    }
    rest = data.subarray(start)
    if (rest.length > MAX_LINE_BYTES) throw new WherryError('MANIFEST_INVALID', 'A line of the manifest is too long.')
  }
  if (rest.length > 0) throw new WherryError('MANIFEST_INVALID', 'The manifest ends within a line.')
}
