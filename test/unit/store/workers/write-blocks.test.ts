import { randomBytes } from 'node:crypto'
import { closeSync, fstatSync, ftruncateSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import type { Extent } from '../../../../agent/store/workers/contract.ts'
import { openDirect } from '../../../../agent/sys/direct.ts'
import { errnoOf } from '../../../../agent/sys/failure.ts'
import { nextData, nextHole } from '../../../../agent/sys/files.ts'
import { BLOCK, blockHashes, held, KIB, pool, poolDirectory, smallDisk } from './fixture.ts'

function extent(offset: number, content: Buffer): Extent {
  const data = Buffer.allocUnsafeSlow(content.length)
  content.copy(data)
  return { offset, data }
}

const upTo = (count: number) => Array.from({ length: count }, (_, block) => block)

test('whole blocks are checked and written where they belong', async (t) => {
  const path = join(poolDirectory(t), 'file')
  const sizeBytes = 6 * BLOCK + 500
  const content = randomBytes(sizeBytes)
  const fd = held(t, path, 'w+')
  ftruncateSync(fd, sizeBytes)
  const blocks = pool(t)
  const task = { fd, sizeBytes, punch: false, direct: null }
  const middle = content.subarray(2 * BLOCK, 5 * BLOCK)
  const extents = [extent(2 * BLOCK, middle.subarray(0, BLOCK + 7)), extent(3 * BLOCK + 7, middle.subarray(BLOCK + 7))]
  const first = await blocks.writeBlocks({ ...task, blocks: [2, 3, 4], expected: blockHashes(middle), extents })
  t.deepEqual([...first], [1, 1, 1])
  t.deepEqual([nextData(fd, 0), nextHole(fd, 2 * BLOCK)], [2 * BLOCK, 5 * BLOCK], 'nothing else was written')
  const end = content.subarray(5 * BLOCK)
  const last = { ...task, blocks: [5, 6], expected: blockHashes(end), extents: [extent(5 * BLOCK, end)] }
  t.deepEqual([...(await blocks.writeBlocks(last))], [1, 1])
  t.true(
    readFileSync(path)
      .subarray(2 * BLOCK)
      .equals(content.subarray(2 * BLOCK)),
  )
})

test('blocks from all over a file are written with one call, and nothing between them', async (t) => {
  const path = join(poolDirectory(t), 'file')
  const old = randomBytes(9 * BLOCK + 300)
  writeFileSync(path, old)
  const fd = held(t, path, 'r+')
  const wanted = Buffer.from(old)
  const blocks = [1, 4, 5, 9]
  for (const block of blocks) randomBytes(Math.min(BLOCK, old.length - block * BLOCK)).copy(wanted, block * BLOCK)
  const data = (block: number) => extent(block * BLOCK, wanted.subarray(block * BLOCK, (block + 1) * BLOCK))
  const expected = Buffer.concat(blocks.map((block) => blockHashes(wanted).subarray(block * 32, block * 32 + 32)))
  const task = { fd, sizeBytes: old.length, blocks, expected, punch: true, direct: null }
  t.deepEqual([...(await pool(t).writeBlocks({ ...task, extents: blocks.map(data) }))], [1, 1, 1, 1])
  t.true(readFileSync(path).equals(wanted))
  // What lies between the blocks is nobody's, even if it is given.
  const between = [data(1), extent(3 * BLOCK, randomBytes(BLOCK)), ...[4, 5, 9].map(data)]
  t.deepEqual([...(await pool(t).writeBlocks({ ...task, extents: between }))], [1, 1, 1, 1])
  t.true(readFileSync(path).equals(wanted))
})

test('a wrong block is not written, the ones beside it are', async (t) => {
  const path = join(poolDirectory(t), 'file')
  const old = randomBytes(5 * BLOCK)
  writeFileSync(path, old)
  const fd = held(t, path, 'r+')
  const content = randomBytes(5 * BLOCK)
  const expected = blockHashes(content)
  content[2 * BLOCK - 1] = (content[2 * BLOCK - 1] ?? 0) ^ 1
  const task = {
    fd,
    sizeBytes: old.length,
    blocks: [0, 1, 2, 3, 4],
    expected,
    extents: [extent(0, content)],
    punch: true,
    direct: null,
  }
  t.deepEqual([...(await pool(t).writeBlocks(task))], [1, 0, 1, 1, 1])
  old.copy(content, BLOCK, BLOCK, 2 * BLOCK)
  t.true(readFileSync(path).equals(content))
})

test('holes between extents hash as zeros and are punched where old data was', async (t) => {
  const path = join(poolDirectory(t), 'file')
  const old = randomBytes(8 * BLOCK)
  writeFileSync(path, old)
  const fd = held(t, path, 'r+')
  const wanted = Buffer.alloc(8 * BLOCK)
  const pieces = [
    [BLOCK + 4 * KIB, 8 * KIB],
    [2 * BLOCK - 4 * KIB, 8 * KIB],
    [6 * BLOCK + 100, 50],
  ] as const
  const extents = pieces.map(([offset, length]) => {
    randomBytes(length).copy(wanted, offset)
    return extent(offset, wanted.subarray(offset, offset + length))
  })
  const expected = blockHashes(wanted.subarray(BLOCK, 7 * BLOCK))
  const task = { fd, sizeBytes: old.length, blocks: [1, 2, 3, 4, 5, 6], expected, extents, punch: true, direct: null }
  t.deepEqual([...(await pool(t).writeBlocks(task))], [1, 1, 1, 1, 1, 1])
  old.copy(wanted, 0, 0, BLOCK)
  old.copy(wanted, 7 * BLOCK, 7 * BLOCK)
  t.true(readFileSync(path).equals(wanted))
  t.is(nextData(fd, 3 * BLOCK), 6 * BLOCK, 'the space was given back')
  t.is(fstatSync(fd).size, old.length)
})

test('a block that is all hole is right and touches nothing unless holes are to be punched', async (t) => {
  const path = join(poolDirectory(t), 'file')
  const fd = held(t, path, 'w+')
  ftruncateSync(fd, 5 * BLOCK)
  const expected = blockHashes(Buffer.alloc(3 * BLOCK))
  const task = { fd, sizeBytes: 5 * BLOCK, blocks: [0, 2, 3], expected, extents: [], punch: false, direct: null }
  t.deepEqual([...(await pool(t).writeBlocks(task))], [1, 1, 1])
  t.is(nextData(fd, 0), null)
})

test('extents that overlap, go back or lie outside the blocks are refused and nothing is written', async (t) => {
  const path = join(poolDirectory(t), 'file')
  const old = randomBytes(5 * BLOCK)
  writeFileSync(path, old)
  const fd = held(t, path, 'r+')
  const blocks = pool(t)
  const content = randomBytes(2 * BLOCK)
  const task = { fd, sizeBytes: old.length, blocks: [1, 2], expected: blockHashes(content), punch: true, direct: null }
  for (const extents of [
    [extent(BLOCK, content), extent(2 * BLOCK, content.subarray(0, 10))],
    [extent(2 * BLOCK, content.subarray(0, 10)), extent(BLOCK, content.subarray(0, 10))],
    [extent(0, content)],
    [extent(2 * BLOCK, content)],
  ]) {
    t.is(errnoOf(await t.throwsAsync(blocks.writeBlocks({ ...task, extents }))), 'EINVAL')
  }
  for (const wrong of [
    { ...task, blocks: [4, 5], extents: [extent(4 * BLOCK, content)] },
    { ...task, blocks: [2, 1], extents: [] },
    { ...task, blocks: [1, 1], extents: [] },
    { ...task, blocks: [1], extents: [] },
  ])
    t.is(errnoOf(await t.throwsAsync(blocks.writeBlocks(wrong))), 'EINVAL')
  t.true(readFileSync(path).equals(old))
})

test('small Buffers, and several of one memory, can be given as extents', async (t) => {
  const path = join(poolDirectory(t), 'file')
  const fd = held(t, path, 'w+')
  const wanted = Buffer.alloc(4 * BLOCK + 1)
  wanted.write('pooled', 10)
  wanted.write('one', 100)
  wanted.write('two', 200)
  const shared = Buffer.allocUnsafeSlow(6)
  shared.write('onetwo')
  const extents = [
    { offset: 10, data: Buffer.from('pooled') },
    { offset: 100, data: shared.subarray(0, 3) },
    { offset: 200, data: shared.subarray(3) },
  ]
  const task = {
    fd,
    sizeBytes: wanted.length,
    blocks: [0, 4],
    expected: blockHashes(Buffer.concat([wanted.subarray(0, BLOCK), wanted.subarray(4 * BLOCK)])),
    extents,
    punch: false,
    direct: null,
  }
  t.deepEqual([...(await pool(t).writeBlocks(task))], [1, 1])
  t.true(readFileSync(path).equals(wanted.subarray(0, 203)))
})

test('blocks are written past the page cache where that is possible, to the last odd byte', async (t) => {
  for (const directory of [poolDirectory(t), smallDisk(t, 8192)]) {
    const fd = held(t, join(directory, 'file'), 'w+')
    const content = randomBytes(20 * BLOCK + 4 * KIB + 77)
    ftruncateSync(fd, content.length)
    const direct = openDirect(fd)
    if (direct === null) throw new Error('this file system takes no direct writes')
    t.teardown(() => closeSync(direct))
    // A hole in the middle, a piece at an odd place: that one goes through the page cache.
    content.fill(0, 5 * BLOCK, 6 * BLOCK)
    content.fill(0, 9 * BLOCK, 9 * BLOCK + 100)
    const pieces = [
      extent(0, content.subarray(0, 5 * BLOCK)),
      extent(6 * BLOCK, content.subarray(6 * BLOCK, 9 * BLOCK)),
      extent(9 * BLOCK + 100, content.subarray(9 * BLOCK + 100)),
    ]
    const task = {
      fd,
      sizeBytes: content.length,
      blocks: upTo(21),
      expected: blockHashes(content),
      punch: false,
      direct,
    }
    const right = await pool(t).writeBlocks({ ...task, extents: pieces })
    t.true(right.every((each) => each === 1))
    t.true(readFileSync(join(directory, 'file')).equals(content))
    t.is(nextHole(fd, 0), 5 * BLOCK)
  }
})

test('a full disk met while blocks are written rejects with ENOSPC', async (t) => {
  const fd = held(t, join(smallDisk(t, 128), 'file'), 'w+')
  const content = randomBytes(16 * BLOCK)
  const expected = blockHashes(content)
  const task = { fd, sizeBytes: content.length, blocks: upTo(16), expected, punch: false, direct: null }
  t.is(errnoOf(await t.throwsAsync(pool(t).writeBlocks({ ...task, extents: [extent(0, content)] }))), 'ENOSPC')
})

test('ranges are copied with their holes, within a file system and from one to another', async (t) => {
  for (const [from, to] of [
    [poolDirectory(t), poolDirectory(t)],
    [smallDisk(t, 2048), poolDirectory(t)],
  ] as const) {
    const source = held(t, join(from, 'source'), 'w+')
    const sizeBytes = 10 * BLOCK
    const content = Buffer.alloc(sizeBytes)
    for (const [offset, length] of [
      [BLOCK, 2 * BLOCK],
      [5 * BLOCK + 4 * KIB, 4 * KIB],
      [8 * BLOCK, 2 * BLOCK],
    ] as const) {
      randomBytes(length).copy(content, offset)
    }
    ftruncateSync(source, sizeBytes)
    const old = randomBytes(sizeBytes)
    writeFileSync(join(to, 'target'), old)
    const target = held(t, join(to, 'target'), 'r+')
    const blocks = pool(t)
    const extents = [1, 5, 8, 9].map((i) => extent(i * BLOCK, content.subarray(i * BLOCK, (i + 1) * BLOCK)))
    extents.splice(1, 0, extent(2 * BLOCK, content.subarray(2 * BLOCK, 3 * BLOCK)))
    const expected = blockHashes(content)
    await blocks.writeBlocks({ fd: source, sizeBytes, blocks: upTo(10), expected, extents, punch: false, direct: null })
    const ranges = [
      { offset: 8 * BLOCK + 10, length: 100 },
      { offset: BLOCK, length: 3 * BLOCK },
      { offset: 5 * BLOCK, length: 0 },
      { offset: 5 * BLOCK, length: BLOCK },
    ]
    await blocks.copyRanges(source, target, ranges)
    for (const { offset, length } of ranges) content.copy(old, offset, offset, offset + length)
    t.true(readFileSync(join(to, 'target')).equals(old))
    t.is(nextHole(target, 0), 3 * BLOCK, 'a hole of the source is one here')
  }
})

test('a full disk met while ranges are copied rejects with ENOSPC', async (t) => {
  const path = join(poolDirectory(t), 'source')
  writeFileSync(path, randomBytes(16 * BLOCK))
  const to = held(t, join(smallDisk(t, 128), 'target'), 'w+')
  const copying = pool(t).copyRanges(held(t, path), to, [{ offset: 0, length: 16 * BLOCK }])
  t.is(errnoOf(await t.throwsAsync(copying)), 'ENOSPC')
})
