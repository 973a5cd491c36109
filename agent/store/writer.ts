import { closeSync } from 'node:fs'
import { open, rename, writeFile } from 'node:fs/promises'
import { UNFINISHED } from '../durable.ts'
import { WherryError } from '../errors.ts'
import { dataChunks, EMPTY_HASH } from './content.ts'
import type { Need, StageProgress, TreeWriter } from './contract.ts'
import { DirectoryCursor, openRoot } from './directory.ts'
import type { FileEntry } from './entry.ts'
import { IncomingFile } from './incoming.ts'
import { dropCommit } from './journal.ts'
import type { Layout } from './layout.ts'
import { decodeManifest, type Manifest } from './manifest.ts'
import { type Plan, planChanges } from './plan.ts'
import type { Scan } from './scan.ts'
import { orDiskFull, requireSpace } from './space.ts'
import { Stage } from './stage.ts'

export interface WriterParts {
  readonly layout: Layout
  /** The volume's name, for messages. */
  readonly volume: string
  /** Looks at the tree as it is now, keeping what was seen. */
  readonly scan: (signal: AbortSignal) => Promise<Scan>
  /** Called once, when the writer is closed. */
  readonly closed: () => void
}

/** Receives a tree into the stage. Calls are carried out one after another, however they come. */
export class StageWriter implements TreeWriter {
  readonly #parts: WriterParts
  readonly #stage: Stage
  readonly #abort = new AbortController()
  readonly #open = new Map<number, IncomingFile>()
  /** Bytes of each needed file that are here, by index. */
  readonly #positions = new Map<number, number>()
  #manifest: Manifest | null = null
  #bytesTotal = 0
  #tail: Promise<unknown> = Promise.resolve()
  #closed = false

  constructor(parts: WriterParts) {
    this.#parts = parts
    this.#stage = new Stage(parts.layout.stage)
  }

  begin(manifest: AsyncIterable<Buffer>): Promise<readonly Need[]> {
    return this.#next(() => this.#begin(manifest))
  }

  write(index: number, offset: number, data: Buffer): Promise<void> {
    return this.#next(async () => {
      const file = this.#file(index)
      await file.write(offset, data)
      this.#positions.set(index, offset + data.length)
    })
  }

  endFile(index: number): Promise<boolean> {
    return this.#next(async () => {
      const good = await this.#file(index).end()
      this.#open.delete(index)
      this.#positions.set(index, good ? this.#entry(index).sizeBytes : 0)
      return good
    })
  }

  progress(): StageProgress {
    let bytesDone = 0
    for (const position of this.#positions.values()) bytesDone += position
    return { bytesDone, bytesTotal: this.#bytesTotal }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#abort.abort()
    await this.#tail
    await this.#closeFiles()
    this.#parts.closed()
  }

  async #begin(chunks: AsyncIterable<Buffer>): Promise<readonly Need[]> {
    const { layout } = this.#parts
    await this.#closeFiles()
    await this.#stage.prepare(this.#abort.signal)
    const manifest = await this.#receiveManifest(chunks)
    this.#manifest = manifest
    const tree = await this.#parts.scan(this.#abort.signal)
    const plan = planChanges(manifest, tree)
    await this.#stage.prune(plan.wanted)
    const missing = await this.#missing(plan)
    await requireSpace(layout.directory, this.#parts.volume, await this.#missingBytes(plan, missing))
    const needs: Need[] = []
    this.#positions.clear()
    this.#bytesTotal = 0
    for (const [hash, { index, entry }] of missing) {
      if (await this.#fillHere(index, entry, plan)) continue
      const { sizeBytes } = await this.#stage.partial(hash)
      const offset = Math.min(sizeBytes, entry.sizeBytes)
      needs.push({ index, offset })
      this.#positions.set(index, offset)
      this.#bytesTotal += entry.sizeBytes
    }
    return needs
  }

  /** Checks the manifest while it comes and keeps it beside the content. An invalid one changes nothing. */
  async #receiveManifest(chunks: AsyncIterable<Buffer>): Promise<Manifest> {
    const unfinished = `${this.#stage.manifest}${UNFINISHED}`
    const file = await open(unfinished, 'w', 0o600)
    let manifest: Manifest
    try {
      manifest = await decodeManifest(tee(chunks, (chunk) => file.writeFile(chunk)))
      await file.sync()
    } finally {
      await file.close()
    }
    // An apply that was cut off and never finished is given up for this newer tree: the copy stays `applying` until then.
    await dropCommit(this.#parts.layout)
    await rename(unfinished, this.#stage.manifest)
    return manifest
  }

  async #missing(plan: Plan): Promise<Map<string, { index: number; entry: FileEntry; uses: number }>> {
    const staged = await this.#stage.contents()
    return new Map([...plan.wanted].filter(([hash]) => !staged.has(hash)))
  }

  async #missingBytes(plan: Plan, missing: ReadonlyMap<string, unknown>): Promise<number> {
    let sum = 0
    for (const [hash, { entry, uses }] of plan.wanted) {
      const bytes = entry.allocatedBytes ?? entry.sizeBytes
      sum += bytes * (uses - 1)
      if (missing.has(hash)) sum += Math.max(bytes - (await this.#stage.partial(hash)).allocatedBytes, 0)
    }
    return sum
  }

  /** Stages content that needs no network: nothing at all, or what lies at another path of the tree (a rename). */
  async #fillHere(index: number, entry: FileEntry, plan: Plan): Promise<boolean> {
    if (entry.hash === EMPTY_HASH && entry.sizeBytes === 0) {
      await writeFile(this.#stage.content(entry.hash), '', { mode: 0o600 })
      return true
    }
    const source = plan.sources.get(entry.hash)
    if (source === undefined) return false
    const root = openRoot(this.#parts.layout.data)
    try {
      using cursor = new DirectoryCursor(root)
      const from = await open(cursor.locate(source), 'r')
      try {
        const file = this.#file(index)
        for await (const { offset, data } of dataChunks(from.fd, 0, entry.sizeBytes)) {
          this.#abort.signal.throwIfAborted()
          await file.write(offset, data)
        }
        return await file.end()
      } finally {
        await from.close()
      }
    } finally {
      this.#open.delete(index)
      closeSync(root)
    }
  }

  #file(index: number): IncomingFile {
    const known = this.#open.get(index)
    if (known !== undefined) return known
    const file = new IncomingFile(this.#stage, this.#entry(index), this.#abort.signal)
    this.#open.set(index, file)
    return file
  }

  #entry(index: number): FileEntry {
    const entry = this.#manifest?.entries[index]
    if (entry?.kind === 'file') return entry
    throw new WherryError(
      'REQUEST_INVALID',
      `Entry ${index} of the manifest of volume ${this.#parts.volume} is no file.`,
    )
  }

  async #closeFiles(): Promise<void> {
    for (const file of this.#open.values()) await file.close()
    this.#open.clear()
  }

  /** Carries out one call after the earlier ones, whether those failed or not. */
  #next<T>(work: () => Promise<T>): Promise<T> {
    const run = async (): Promise<T> => {
      if (this.#closed) {
        throw new WherryError('REQUEST_INVALID', `The writer of volume ${this.#parts.volume} is closed.`)
      }
      return await orDiskFull(this.#parts.layout.directory, this.#parts.volume, work)
    }
    const result = this.#tail.then(run)
    this.#tail = result.catch(() => {})
    return result
  }
}

async function* tee(chunks: AsyncIterable<Buffer>, also: (chunk: Buffer) => Promise<void>): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) {
    await also(chunk)
    yield chunk
  }
}
