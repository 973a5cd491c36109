import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { isMarkedAsUntransferable } from 'node:worker_threads'
import test from 'ava'
import { decodeManifest } from '../../../../agent/store/manifest/parser.ts'
import { loadSnapshot } from '../../../../agent/store/snapshot/saved-snapshot.ts'
import { FILES_MAX, type TreeReader } from '../../../../agent/store/tree-contract.ts'
import { temporaryDirectory } from '../fixture.ts'
import { type CapturedDirectory, captured } from '../scan/captured.ts'

const BLOCK_BYTES = 16_384
const MIB = 1024 * 1024

/** Writes files, captures the tree and answers their contents by index in the manifest. */
async function withFiles(
  tree: CapturedDirectory,
  sizes: Record<string, number>,
): Promise<Map<string, { index: number; content: Buffer }>> {
  for (const [path, size] of Object.entries(sizes)) {
    mkdirSync(join(tree.data, path, '..'), { recursive: true })
    writeFileSync(join(tree.data, path), randomBytes(size))
  }
  const { manifest } = await tree.capture('quiet')
  return new Map(
    Object.keys(sizes).map((path) => [
      path,
      { index: manifest.find(path), content: readFileSync(join(tree.data, path)) },
    ]),
  )
}

async function first(chunks: AsyncIterable<unknown>): Promise<unknown> {
  return (await chunks[Symbol.asyncIterator]().next()).value
}

async function read(
  reader: TreeReader,
  index: number,
  size: number,
  firstBlock: number,
  count: number,
): Promise<Buffer> {
  const start = firstBlock * BLOCK_BYTES
  const content = Buffer.alloc(Math.min(count * BLOCK_BYTES, size - start))
  let end = start
  for await (const { offset, data } of reader.blocks({ index, first: firstBlock, count })) {
    if (offset < end || data.length > MIB || isMarkedAsUntransferable(data.buffer))
      throw new Error(`piece at ${offset}`)
    data.copy(content, offset - start)
    end = offset + data.length
  }
  return content
}

test('small files come whole, in the order asked for, whatever their directories', async (t) => {
  const tree = await captured(t)
  const files = await withFiles(tree, { 'a/b/x': 65_536, 'a/b/y': 0, 'a/z': 10, 'other/x': 1000, top: 77 })
  await using reader = await tree.reader()
  for (const paths of [['a/b/x', 'a/b/y'], ['top', 'other/x', 'a/b/y', 'a/z', 'a/b/x'], ['a/b/y']]) {
    const wanted = paths.flatMap((path) => files.get(path) ?? [])
    const { data, changed } = await reader.files(wanted.map(({ index }) => index))
    t.deepEqual(data, Buffer.concat(wanted.map(({ content }) => content)))
    t.deepEqual(changed, [])
  }
})

test('small files that are not what the manifest says are named, never followed out of the tree', async (t) => {
  const tree = await captured(t)
  const outside = await temporaryDirectory(t)
  writeFileSync(join(outside, 'secret'), 'secret')
  const paths = ['d/x', 'gone', 'good', 'grown', 'swapped', 'touched', 'w/secret']
  const files = await withFiles(tree, Object.fromEntries(paths.map((path) => [path, 6])))
  const at = (path: string) => join(tree.data, path)
  unlinkSync(at('gone'))
  appendFileSync(at('grown'), 'x')
  unlinkSync(at('swapped'))
  symlinkSync(join(outside, 'secret'), at('swapped'))
  utimesSync(at('touched'), 1, 1)
  rmSync(at('d'), { recursive: true })
  rmSync(at('w'), { recursive: true })
  symlinkSync(outside, at('w'))
  await using reader = await tree.reader()
  const { data, changed } = await reader.files(paths.flatMap((path) => files.get(path)?.index ?? []))
  t.deepEqual(
    changed.map((position) => paths[position]),
    paths.filter((path) => path !== 'good'),
  )
  t.deepEqual(data, Buffer.concat([Buffer.alloc(12), files.get('good')?.content ?? Buffer.alloc(0), Buffer.alloc(24)]))
})

test('runs of blocks come as they are asked for, several at a time', async (t) => {
  const tree = await captured(t)
  const size = 5 * MIB + 12_345
  const file = (await withFiles(tree, { large: size })).get('large')
  const [index, content] = [file?.index ?? 0, file?.content ?? Buffer.alloc(0)]
  await using reader = await tree.reader()
  const runs = [
    [0, 321],
    [0, 1],
    [320, 1],
    [63, 2],
    [7, 160],
  ] as const
  const parts = await Promise.all(runs.map(([start, count]) => read(reader, index, size, start, count)))
  for (const [nth, [start, count]] of runs.entries()) {
    t.true(parts[nth]?.equals(content.subarray(start * BLOCK_BYTES, (start + count) * BLOCK_BYTES)))
  }
})

test('holes are not sent', async (t) => {
  const tree = await captured(t)
  const path = join(tree.data, 'sparse')
  writeFileSync(path, '')
  truncateSync(path, 4 * MIB)
  for (const page of [100, 600]) {
    const where = [`of=${path}`, 'bs=4096', 'count=1', `seek=${page}`, 'conv=notrunc', 'status=none']
    execFileSync('dd', ['if=/dev/urandom', ...where])
  }
  await tree.capture('quiet')
  await using reader = await tree.reader()
  const pieces = []
  for await (const piece of reader.blocks({ index: 1, first: 0, count: 256 })) pieces.push(piece)
  t.true(pieces.reduce((sum, { data }) => sum + data.length, 0) < 200_000)
  const content = readFileSync(path)
  for (const { offset, data } of pieces) t.true(data.equals(content.subarray(offset, offset + data.length)))
  t.true((await read(reader, 1, content.length, 0, 256)).equals(content))
})

test('lists of hashes come from what is kept, else from the file while it is what the manifest says', async (t) => {
  const tree = await captured(t)
  const index = (await withFiles(tree, { large: 40 * MIB })).get('large')?.index ?? 0
  const expected = await (await loadSnapshot(tree.directory, 'last'))?.lists.list(index)
  const list = async () => {
    await using reader = await tree.reader()
    const chunks: Buffer[] = []
    for await (const chunk of reader.hashes(index)) chunks.push(chunk)
    return Buffer.concat(chunks)
  }
  t.is(expected?.length, 2560 * 32)
  t.deepEqual(await list(), expected)
  unlinkSync(join(tree.directory, 'last.lists'))
  t.deepEqual(await list(), expected)
  const { atime, mtime } = lstatSync(join(tree.data, 'large'))
  writeFileSync(join(tree.data, 'large'), 'x', { flag: 'r+' })
  utimesSync(join(tree.data, 'large'), atime, mtime)
  await t.throwsAsync(list(), { code: 'TREE_CHANGED' })
})

test('a large file that is not what the manifest says rejects TREE_CHANGED, before and while it is read', async (t) => {
  const tree = await captured(t)
  const files = await withFiles(tree, { grown: 3 * MIB, gone: MIB, swapped: MIB, shrinks: 6 * MIB, directory: MIB })
  const at = (path: string) => join(tree.data, path)
  const index = (path: string) => files.get(path)?.index ?? 0
  await using reader = await tree.reader()
  const shrinking = reader.blocks({ index: index('shrinks'), first: 0, count: 96 })[Symbol.asyncIterator]()
  t.false((await shrinking.next()).done)
  truncateSync(at('shrinks'), 10)
  await t.throwsAsync(
    async () => {
      while (!(await shrinking.next()).done);
    },
    { code: 'TREE_CHANGED', message: /shrinks/ },
  )
  appendFileSync(at('grown'), 'x')
  for (const path of ['gone', 'swapped', 'directory']) unlinkSync(at(path))
  symlinkSync('/etc/passwd', at('swapped'))
  mkdirSync(at('directory'))
  for (const path of ['grown', 'gone', 'swapped', 'directory']) {
    await t.throwsAsync(
      first(reader.blocks({ index: index(path), first: 0, count: 1 })),
      { code: 'TREE_CHANGED' },
      path,
    )
  }
})

test('what no entry has is refused with REQUEST_INVALID', async (t) => {
  const tree = await captured(t)
  const files = await withFiles(tree, { 'd/large': 9 * MIB, small: 100 })
  const [large, small] = [files.get('d/large')?.index ?? 0, files.get('small')?.index ?? 0]
  const reader = await tree.reader()
  const refused = { code: 'REQUEST_INVALID' }
  for (const indexes of [[], [0], [1], [large], [99], [-1], [0.5], [Number.NaN], Array(FILES_MAX + 1).fill(small)]) {
    await t.throwsAsync(reader.files(indexes), refused)
  }
  for (const index of [0, 1, small, 99, -1]) {
    await t.throwsAsync(first(reader.hashes(index)), refused)
    await t.throwsAsync(first(reader.blocks({ index, first: 0, count: 1 })), refused)
  }
  for (const [start, count] of [
    [0, 0],
    [0, -1],
    [-1, 1],
    [576, 1],
    [575, 2],
    [0.5, 1],
    [0, Number.NaN],
    [0, 513],
  ] as const) {
    await t.throwsAsync(first(reader.blocks({ index: large, first: start, count })), refused, `${start} ${count}`)
  }
  await reader[Symbol.asyncDispose]()
  await t.throwsAsync(reader.files([small]), refused)
})

test('later captures change nothing for a reader, and closing waits for what is being read', async (t) => {
  const tree = await captured(t)
  const files = await withFiles(tree, { large: 8 * MIB, small: 10 })
  const reader = await tree.reader()
  writeFileSync(join(tree.data, 'new'), 'new')
  const next = await tree.capture('quiet')
  const manifest = await decodeManifest(reader.manifest())
  t.is(manifest.hash, reader.hash)
  t.not(manifest.hash, next.manifest.hash)
  const pieces = reader.blocks({ index: files.get('large')?.index ?? 0, first: 0, count: 128 })[Symbol.asyncIterator]()
  t.false((await pieces.next()).done)
  let closed = false
  const closing = reader[Symbol.asyncDispose]().then(() => {
    closed = true
  })
  await new Promise((resolve) => setTimeout(resolve, 30))
  t.false(closed)
  await pieces.return?.()
  await closing
  t.true(existsSync(tree.data))
})
