import { isMarkedAsUntransferable } from 'node:worker_threads'
import type { Logger } from 'pino'
import { HASH_BYTES } from '../blocks.ts'
import type { BlockPool, Extent, NewFile } from './contract.ts'
import { type CreateFilesTask, NUMBERS_PER_FILE } from './create-files.ts'
import { Threads } from './threads.ts'

/** Opens the pool. Threads start with the first tasks. `entry` is for tests. */
export function openBlockPool(
  options: { readonly threads: number; readonly log?: Logger },
  entry: URL = new URL('./worker.ts', import.meta.url),
): BlockPool {
  const threads = new Threads(options.threads, entry, options.log)
  return {
    threads: options.threads,
    hashBlocks: async (fd, sizeBytes, first, count) =>
      asBuffer(await threads.run('hashBlocks', { fd, sizeBytes, first, count }, [])),
    hashFiles: async (directoryFd, names, sizes) => {
      const { hashes, outcomes } = await threads.run('hashFiles', { directoryFd, names, sizes }, [])
      return { hashes: asBuffer(hashes), outcomes }
    },
    readFiles: async (directoryFd, names, sizes) => {
      const { data, outcomes } = await threads.run('readFiles', { directoryFd, names, sizes }, [])
      return { data: asBuffer(data), outcomes }
    },
    createFiles: (directoryFd, files, payload) => {
      const task = inColumns(directoryFd, files, payload)
      return threads.run('createFiles', task, [task.numbers.buffer as ArrayBuffer, task.payload.buffer as ArrayBuffer])
    },
    writeBlocks: (task) => {
      const extents = task.extents.map(transferable)
      const given = new Set(extents.map(({ data }) => data.buffer as ArrayBuffer))
      return threads.run('writeBlocks', { ...task, expected: ownCopy(task.expected), extents }, [...given])
    },
    copyRanges: (from, to, ranges) => threads.run('copyRanges', { from, to, ranges }, []),
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

/** Small Buffers share memory that Node does not let go of. */
function transferable({ offset, data }: Extent): Extent {
  return isMarkedAsUntransferable(data.buffer) ? { offset, data: ownCopy(data) } : { offset, data }
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
    payload: ownCopy(payload),
  }
}
