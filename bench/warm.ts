import { closeSync, openSync, readSync } from 'node:fs'
import { run } from '../lab/command.ts'
import type { Case, CaseExtent } from './cases.ts'

const TIMEOUT_MS = 10 * 60_000

/**
 * Brings memory into the same state before each run of each peer: nothing waits to be written, and the source and the
 * receiver's tree are in the page cache with their inodes, as they are on hosts where a container has just used them.
 */
export async function warm(which: Case, scale: number, trees: readonly string[]): Promise<void> {
  await run('sync', [], { timeoutMs: TIMEOUT_MS })
  for (const tree of trees) {
    if (which.extents === undefined) await readTree(tree)
    else await warmExtents(which.extents(scale), tree)
  }
}

/** Brings all files of a tree into the page cache, as far as they fit there. */
export async function readTree(tree: string): Promise<void> {
  const read = ['-exec', 'sh', '-c', 'cat "$@" >/dev/null', 'cat', '{}', '+']
  await run('find', [tree, '-type', 'f', ...read], { timeoutMs: TIMEOUT_MS })
}

/** Drops what the page cache has of a file, as dd's manual says; dirty pages stay. */
export async function dropFromCache(file: string): Promise<void> {
  await run('dd', [`if=${file}`, 'iflag=nocache', 'count=0', 'status=none'])
}

/**
 * A peer that reads holes leaves a cache full of zeros: the next one must not find less room (or more to read) for
 * that.
 */
async function warmExtents(extents: readonly CaseExtent[], tree: string): Promise<void> {
  const into = Buffer.alloc(Math.max(...extents.map(({ length }) => length)))
  for (const file of new Set(extents.map((extent) => `${tree}/${extent.file}`))) {
    await dropFromCache(file)
  }
  for (const { file, offset, length } of extents) {
    const fd = openSync(`${tree}/${file}`, 'r')
    readSync(fd, into, 0, length, offset)
    closeSync(fd)
  }
}
