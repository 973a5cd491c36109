import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, fstatSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ExecutionContext } from 'ava'
import type { Cursor, Tracker } from '../../../../agent/store/tracker/contract.ts'
import { cleanPages, syncFileSystem } from '../../../../agent/sys/files.ts'

const WRITER = new URL('../../../fixtures/writer.py', import.meta.url).pathname
const BLOCK = 16_384
const FILE_BYTES = 32 * BLOCK

interface Known {
  readonly fd: number
  readonly inode: bigint
  /** As it was read, block by block, when the tracker said so. */
  content: Buffer
}

/** A program that writes without a pause, and what is known of its files by following a tracker. */
export class Followed {
  readonly #writer: ChildProcess
  readonly #root: number
  readonly #files: Known[]
  readonly #read = Buffer.alloc(FILE_BYTES)
  since: Cursor = 0
  nulls = 0

  static async start(t: ExecutionContext, directory: string, mode: string, seed: number): Promise<Followed> {
    const paths = ['a', 'b', 'c'].map((name) => join(directory, name))
    for (const path of paths) writeFileSync(path, Buffer.alloc(FILE_BYTES, 'x'))
    const writer = spawn('python3', [WRITER, mode, String(seed), ...paths], { stdio: ['ignore', 'pipe', 'inherit'] })
    const followed = new Followed(writer, directory, paths)
    t.teardown(() => followed.end())
    await once(writer.stdout, 'data')
    return followed
  }

  private constructor(writer: ChildProcess, directory: string, paths: readonly string[]) {
    this.#writer = writer
    this.#root = openSync(directory, 'r')
    this.#files = paths.map((path) => {
      const fd = openSync(path, 'r')
      return { fd, inode: fstatSync(fd, { bigint: true }).ino, content: Buffer.alloc(0) }
    })
  }

  /** One round, in the order of docs/tracking.md. */
  async follow(tracker: Tracker, { live }: { readonly live: boolean }): Promise<void> {
    tracker.watch(
      'volume',
      this.#files.map(({ inode }) => inode),
    )
    const cursor = tracker.cut()
    if (live) await tracker.settle()
    await syncFileSystem(this.#root, 'root')
    for (const file of this.#files) {
      const changes = tracker.changes(file.inode, this.since)
      if (changes === null) this.nulls += 1
      if (changes !== null && changes.length === 0 && fstatSync(file.fd).size === file.content.length) continue
      await cleanPages(file.fd)
      const size = fstatSync(file.fd).size
      const small = Math.min(size, file.content.length)
      const before = file.content
      file.content = Buffer.alloc(size)
      before.copy(file.content, 0, 0, small)
      const ranges = changes === null || changes === 'all' ? [{ offset: 0, length: size }] : [...changes]
      if (size !== before.length) ranges.push({ offset: small - (small % BLOCK), length: size })
      for (const { offset, length } of ranges)
        if (offset < size) readSync(file.fd, file.content, offset, Math.min(length, size - offset), offset)
    }
    this.since = cursor
  }

  /** Stops the writer between two instructions, follows once more, and answers the blocks that are not as known. */
  async check(tracker: Tracker): Promise<string[]> {
    this.#writer.kill('SIGSTOP')
    while (!/\) T /.test(readFileSync(`/proc/${this.#writer.pid}/stat`, 'latin1'))) await sleep(1)
    await this.follow(tracker, { live: false })
    const wrong: string[] = []
    for (const [index, { fd, content }] of this.#files.entries()) {
      const { size } = fstatSync(fd)
      if (size !== content.length) wrong.push(`file ${index} has another size`)
      readSync(fd, this.#read, 0, size, 0)
      for (let offset = 0; offset < size; offset += BLOCK) {
        const end = Math.min(offset + BLOCK, size)
        if (this.#read.compare(content, offset, end, offset, end) !== 0) wrong.push(`file ${index} at ${offset}`)
      }
    }
    this.#writer.kill('SIGCONT')
    return wrong
  }

  async end(): Promise<void> {
    this.#writer.kill('SIGKILL')
    if (this.#writer.exitCode === null && this.#writer.signalCode === null) await once(this.#writer, 'exit')
    if (this.#files.length > 0) closeSync(this.#root)
    for (const { fd } of this.#files.splice(0)) closeSync(fd)
  }
}
