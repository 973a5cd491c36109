import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { blockBytesOf } from '../../../../agent/store/blocks/block-size.ts'
import { errnoOf } from '../../../../agent/sys/failure.ts'
import { BLOCK, blockHashes, held, heldDirectory, KIB, pool, poolDirectory, sha256Of } from './fixture.ts'

const GIB = 1024 ** 3

test('blocks of a dense file are hashed one by one, the short last one too, from any block on', async (t) => {
  const path = join(poolDirectory(t), 'file')
  const content = randomBytes(19 * BLOCK + 1234)
  writeFileSync(path, content)
  const fd = held(t, path)
  const known = blockHashes(content)
  const blocks = pool(t)
  t.deepEqual(await blocks.hashBlocks(fd, content.length, 0, 20), known)
  t.deepEqual(await blocks.hashBlocks(fd, content.length, 7, 5), known.subarray(7 * 32, 12 * 32))
  t.deepEqual(await blocks.hashBlocks(fd, content.length, 19, 1), known.subarray(19 * 32))
  t.is((await blocks.hashBlocks(fd, content.length, 3, 0)).length, 0)
  t.is(errnoOf(await t.throwsAsync(blocks.hashBlocks(fd, content.length, 19, 2))), 'EINVAL')
})

test('a small and an empty file are a block each', async (t) => {
  const path = join(poolDirectory(t), 'file')
  writeFileSync(path, 'small')
  const fd = held(t, path)
  const blocks = pool(t)
  t.deepEqual(await blocks.hashBlocks(fd, 5, 0, 1), sha256Of(Buffer.from('small')))
  t.deepEqual(await blocks.hashBlocks(fd, 0, 0, 1), sha256Of(Buffer.alloc(0)))
})

test('holes of a sparse file hash as zeros, wherever they begin and end', async (t) => {
  const path = join(poolDirectory(t), 'file')
  const sizeBytes = 40 * BLOCK + 777
  const content = Buffer.alloc(sizeBytes)
  const fd = held(t, path, 'w+')
  ftruncateSync(fd, sizeBytes)
  for (const [offset, length] of [
    [3 * BLOCK + 4 * KIB, 4 * KIB],
    [5 * BLOCK - 100, 200],
    [8 * BLOCK, 9 * BLOCK],
    [20 * BLOCK + 32 * KIB, 10 * BLOCK],
    [sizeBytes - 10, 10],
  ] as const) {
    const data = randomBytes(length)
    data.copy(content, offset)
    writeSync(fd, data, 0, length, offset)
  }
  t.true(statSync(path).blocks * 512 < sizeBytes, 'it has holes')
  t.deepEqual(await pool(t).hashBlocks(fd, sizeBytes, 0, 41), blockHashes(content))
})

test('a hole of terabytes is not read; bigger files have bigger blocks', async (t) => {
  const path = join(poolDirectory(t), 'file')
  const sizeBytes = 1024 * GIB
  const blockBytes = blockBytesOf(sizeBytes)
  const fd = held(t, path, 'w+')
  ftruncateSync(fd, sizeBytes)
  writeSync(fd, 'end', sizeBytes - 3)
  const count = sizeBytes / blockBytes
  const hashes = await pool(t).hashBlocks(fd, sizeBytes, 0, count)
  const zeros = Buffer.alloc(blockBytes)
  t.is(hashes.length, count * 32)
  t.true(hashes.subarray(0, -32).equals(Buffer.concat(Array(count - 1).fill(sha256Of(zeros)))))
  zeros.write('end', blockBytes - 3)
  t.deepEqual(hashes.subarray(-32), sha256Of(zeros))
})

test('what a file is short of counts as zeros', async (t) => {
  const path = join(poolDirectory(t), 'file')
  const content = randomBytes(5 * BLOCK)
  writeFileSync(path, content)
  const fd = held(t, path)
  truncateSync(path, BLOCK + 100)
  content.fill(0, BLOCK + 100)
  t.deepEqual(await pool(t).hashBlocks(fd, content.length, 0, 5), blockHashes(content))
})

test('an error of a descriptor comes back with its errno', async (t) => {
  const error = await t.throwsAsync(pool(t).hashBlocks(999_999, 100, 0, 1), { code: 'SYSTEM_CALL_FAILED' })
  t.is(errnoOf(error), 'EBADF')
})

test('small files are hashed and read by name; what is no such file says why and harms no other', async (t) => {
  const directory = poolDirectory(t)
  const { EISDIR, ELOOP, ENOENT, EINVAL, ENXIO } = constants.errno
  const contents = [randomBytes(5 * KIB), Buffer.alloc(0), randomBytes(BLOCK)]
  for (const [i, content] of contents.entries()) writeFileSync(join(directory, `good${i}`), content)
  writeFileSync(join(directory, 'longer'), 'xxx')
  writeFileSync(join(directory, 'shorter'), 'x')
  symlinkSync('good0', join(directory, 'link'))
  mkdirSync(join(directory, 'dir'))
  execFileSync('sh', ['-c', 'mkfifo fifo; mknod zero c 1 5'], { cwd: directory })
  execFileSync('python3', ['-c', 'import socket;socket.socket(socket.AF_UNIX).bind("socket")'], { cwd: directory })
  const wanted: [string, number, number][] = [
    ['good0', 5 * KIB, 0],
    ['longer', 2, 1],
    ['shorter', 2, 1],
    ['gone', 10, ENOENT],
    ['good1', 0, 0],
    ['link', 5 * KIB, ELOOP],
    ['dir', 10, EISDIR],
    ['fifo', 10, EINVAL],
    ['zero', 10, EINVAL],
    ['socket', 10, ENXIO],
    ['../x', 10, EINVAL],
    ['good2', BLOCK, 0],
  ]
  const at = heldDirectory(t, directory)
  const before = readdirSync('/proc/self/fd').length
  const [names, sizes] = [wanted.map(([name]) => name), wanted.map(([, size]) => size)]
  const blocks = pool(t)
  const hashed = await blocks.hashFiles(at, names, sizes)
  const read = await blocks.readFiles(at, names, sizes)
  t.deepEqual(
    [...hashed.outcomes],
    wanted.map(([, , outcome]) => outcome),
  )
  t.deepEqual(read.outcomes, hashed.outcomes)
  let offset = 0
  for (const [i, [name, size, outcome]] of wanted.entries()) {
    const content = contents[Number(name.at(-1))] ?? Buffer.alloc(size)
    const expected = outcome === 0 ? content : Buffer.alloc(size)
    t.true(read.data.subarray(offset, offset + size).equals(expected), name)
    t.deepEqual(hashed.hashes.subarray(i * 32, i * 32 + 32), outcome === 0 ? sha256Of(content) : Buffer.alloc(32), name)
    offset += size
  }
  t.is(read.data.length, offset)
  t.is(read.data.buffer.byteLength, offset, 'memory of its own')
  // The thread has a few descriptors of its own; a leak would be one for each name and call.
  t.true(readdirSync('/proc/self/fd').length < before + wanted.length)
})

test('reading leaves the time of access', async (t) => {
  const directory = poolDirectory(t)
  const path = join(directory, 'file')
  writeFileSync(path, 'content')
  utimesSync(path, 1000, 2000)
  await pool(t).readFiles(heldDirectory(t, directory), ['file'], [7])
  t.is(statSync(path).atimeMs, 1_000_000)
})

test('names are bytes', async (t) => {
  const directory = poolDirectory(t)
  const name = Buffer.from([0xff, 0xc3, 0x28, 0x0a])
  const fd = openSync(Buffer.concat([Buffer.from(`${directory}/`), name]), 'w')
  writeSync(fd, 'odd')
  closeSync(fd)
  const { hashes } = await pool(t).hashFiles(heldDirectory(t, directory), [name.toString('latin1')], [3])
  t.deepEqual(hashes, sha256Of(Buffer.from('odd')))
})
