import { randomBytes } from 'node:crypto'
import { isMarkedAsUntransferable } from 'node:worker_threads'
import type { Logger } from 'pino'
import { BufferPool } from '../../runtime/buffer-pool.ts'
import { HASH_BYTES } from '../blocks/block-size.ts'
import { TAG_KEY_BYTES } from './block-tag.ts'
import type { BlockPool, NewFile } from './contract.ts'
import { type CreateFilesTask, NUMBERS_PER_FILE } from './create-files.ts'
import { ThreadPool } from './thread-pool.ts'

interface PoolOptions {
  readonly threads: number
  readonly log?: Logger
  readonly memory?: BufferPool
  /**
   * Secret key of the tags. With another key than before no tag is known.
   * By default tags hold for this pool alone.
   */
  readonly tagKey?: Buffer
}

/** Opens the pool. Threads start with the first tasks. `entry` is for tests. */
export function openBlockPool(
  options: PoolOptions,
  entry: URL = new URL(import.meta.resolve('#block-worker')),
): BlockPool {
  const { memory = new BufferPool() } = options
  const threads = new ThreadPool(options.threads, entry, options.log)
  const key = ownCopy(options.tagKey ?? randomBytes(TAG_KEY_BYTES))
  return {
    threads: options.threads,
    hashBlocks: async (fd, sizeBytes, first, count) => {
      const { hashes } = await threads.run('hashBlocks', { fd, sizeBytes, first, count, tagging: null }, [])
      return asBuffer(hashes)
    },
    rehashBlocks: async (fd, sizeBytes, first, count, given) => {
      const known = given === null ? null : { hashes: ownCopy(given.hashes), tags: ownCopy(given.tags) }
      const task = { fd, sizeBytes, first, count, tagging: { key, known } }
      const { hashes, tags, hashedBlocks } = await threads.run('hashBlocks', task, [])
      return { hashes: asBuffer(hashes), tags: asBuffer(tags), hashedBlocks }
    },
    rehashSome: async (fd, sizeBytes, blocks, given) => {
      const known = { hashes: ownCopy(given.hashes), tags: ownCopy(given.tags) }
      const task = { fd, sizeBytes, blocks: Float64Array.from(blocks), tagging: { key, known } }
      const { hashes, tags, hashedBlocks } = await threads.run('hashSome', task, [])
      return { hashes: asBuffer(hashes), tags: asBuffer(tags), hashedBlocks }
    },
    hashFiles: async (directoryFd, names, sizes) => {
      const { hashes, outcomes } = await threads.run('hashFiles', { directoryFd, names, sizes }, [])
      return { hashes: asBuffer(hashes), outcomes }
    },
    readFiles: async (directoryFd, names, sizes) => {
      const into = memory.take(sizes.reduce((sum, sizeBytes) => sum + sizeBytes, 0))
      const task = { directoryFd, names, sizes, into }
      const { data, outcomes } = await threads.run('readFiles', task, [into.buffer as ArrayBuffer])
      return { data: memory.lend(data), outcomes }
    },
    createFiles: async (directoryFd, files, payload) => {
      const task = inColumns(directoryFd, files, transferable(payload))
      const given = [task.numbers.buffer as ArrayBuffer, task.payload.buffer as ArrayBuffer]
      const { outcomes, returned } = await threads.run('createFiles', task, given)
      memory.adopt(returned.buffer as ArrayBuffer)
      return outcomes
    },
    writeBlocks: async (task) => {
      const extents = task.extents.map(({ offset, data }) => ({ offset, data: transferable(data) }))
      const given = new Set(extents.map(({ data }) => data.buffer as ArrayBuffer))
      const blocks = Float64Array.from(task.blocks)
      const input = { ...task, blocks, expected: ownCopy(task.expected), extents }
      const { right, returned } = await threads.run('writeBlocks', input, [...given])
      for (const buffer of new Set(returned.map((data) => data.buffer as ArrayBuffer))) memory.adopt(buffer)
      return right
    },
    copyRanges: (from, to, ranges) => threads.run('copyRanges', { from, to, ranges }, []),
    spoolBlocks: async (fd, to, sizeBytes, copies, given) => {
      const blocks = Float64Array.from(copies, ({ block }) => block)
      const places = Float64Array.from(copies, ({ place }) => place)
      const used = Uint8Array.from(copies, (copy) => (copy.used ? 1 : 0))
      const known = given === null ? null : { hashes: ownCopy(given.hashes), tags: ownCopy(given.tags) }
      const task = { fd, to, sizeBytes, blocks, places, used, tagging: known === null ? null : { key, known } }
      const { hashes } = await threads.run('spoolBlocks', task, [])
      return asBuffer(hashes)
    },
    spoolFiles: async (directoryFd, names, sizes, to, place) => {
      const { hashes, outcomes } = await threads.run('spoolFiles', { directoryFd, names, sizes, to, place }, [])
      return { hashes: asBuffer(hashes), outcomes }
    },
    [Symbol.asyncDispose]: () => threads[Symbol.asyncDispose](),
  }
}

/** Arrays lose Node's class on the way between threads. */
function asBuffer({ buffer, byteOffset, length }: Uint8Array): Buffer {
  return Buffer.from(buffer as ArrayBuffer, byteOffset, length)
}

/** A message takes the whole memory behind an array with it, however small a part the array is. */
function ownCopy(data: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(data.length)
  data.copy(copy)
  return copy
}

/** Copies small Buffers: they share memory that Node does not transfer. */
function transferable(data: Buffer): Buffer {
  return isMarkedAsUntransferable(data.buffer) ? ownCopy(data) : data
}

function inColumns(directoryFd: number, files: readonly NewFile[], payload: Buffer): CreateFilesTask {
  const numbers = new Uint32Array(files.length * NUMBERS_PER_FILE)
  const hashes = Buffer.allocUnsafeSlow(files.length * HASH_BYTES)
  for (const [i, { mode, uid, gid, offset, sizeBytes, hash }] of files.entries()) {
    numbers.set([mode, uid, gid, offset, sizeBytes], i * NUMBERS_PER_FILE)
    hash.copy(hashes, i * HASH_BYTES)
  }
  return {
    directoryFd,
    names: files.map(({ name }) => name),
    numbers,
    mtimesNs: files.map(({ mtimeNs }) => mtimeNs),
    hashes,
    payload,
  }
}
