import { randomBytes } from 'node:crypto'
import { ftruncateSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { openBlockPool } from '../../../../agent/store/workers/block-pool.ts'
import type { TaggedBlocks } from '../../../../agent/store/workers/contract.ts'
import { punchHole } from '../../../../agent/sys/files.ts'
import { BLOCK, blockHashes, held, pool, poolDirectory } from './fixture.ts'

const MIB = 1024 * 1024
const RUNS = 25

/** A file of random blocks, read and tagged once. */
async function tagged(t: ExecutionContext, blocks: number) {
  const content = randomBytes(blocks * BLOCK)
  const fd = held(t, join(poolDirectory(t), 'file'), 'w+')
  writeSync(fd, content)
  const reader = pool(t)
  const first = await reader.rehashBlocks(fd, content.length, 0, blocks, null)
  const again = (known: TaggedBlocks | null) => reader.rehashBlocks(fd, content.length, 0, blocks, known)
  return { content, fd, reader, first, again }
}

test('of a file with one changed page only the block with the page is hashed', async (t) => {
  const blocks = (64 * MIB) / BLOCK
  const { content, fd, first, again } = await tagged(t, blocks)
  t.is(first.hashedBlocks, blocks)
  t.deepEqual(first.hashes, blockHashes(content))
  const page = randomBytes(4096)
  page.copy(content, 33 * MIB + 8192)
  writeSync(fd, page, 0, page.length, 33 * MIB + 8192)
  const second = await again(first)
  t.is(second.hashedBlocks, 1)
  t.deepEqual(second.hashes, blockHashes(content))
  t.false(second.tags.equals(first.tags))
  const third = await again(second)
  t.is(third.hashedBlocks, 0)
  t.deepEqual([third.hashes, third.tags], [second.hashes, second.tags])
})

test('a single changed bit is found wherever it is', async (t) => {
  const { content, fd, first, again } = await tagged(t, 5)
  for (const at of [0, 15, 16, 4095, 40_000, BLOCK - 1, BLOCK, 2 * BLOCK - 1]) {
    content[at] = (content[at] ?? 0) ^ 0x10
    writeSync(fd, content, at, 1, at)
    const { hashes, hashedBlocks } = await again(first)
    t.is(hashedBlocks, 1, `${at}`)
    t.deepEqual(hashes, blockHashes(content))
    content[at] = (content[at] ?? 0) ^ 0x10
    writeSync(fd, content, at, 1, at)
  }
})

test('what is known wrongly costs time and changes nothing', async (t) => {
  const { content, fd, reader, first, again } = await tagged(t, 6)
  const hashes = blockHashes(content)
  const expect = async (known: TaggedBlocks | null, hashedBlocks: number, what: string) => {
    const found = await again(known)
    t.deepEqual([found.hashes, found.tags], [hashes, first.tags], what)
    t.is(found.hashedBlocks, hashedBlocks, what)
  }
  const other = await tagged(t, 6)
  await expect(null, 6, 'nothing')
  await expect({ hashes: first.hashes, tags: other.first.tags }, 6, 'tags of another file')
  await expect(other.first, 6, 'all of another file')
  await expect(
    { hashes: other.first.hashes, tags: first.tags },
    6,
    'hashes of another file with tags that fit the content',
  )
  await expect({ hashes: first.hashes, tags: Buffer.alloc(96) }, 6, 'zeros')
  await expect({ hashes: first.hashes, tags: Buffer.alloc(0) }, 6, 'no tags')
  await expect({ hashes: Buffer.alloc(0), tags: first.tags }, 6, 'no hashes')
  const torn = Buffer.concat([first.tags.subarray(0, 40), Buffer.alloc(56)])
  await expect({ hashes: first.hashes, tags: torn }, 4, 'torn tags')
  await expect({ hashes: first.hashes.subarray(0, 70), tags: first.tags }, 4, 'torn hashes')
  const swapped = Buffer.concat([first.tags.subarray(16, 32), first.tags.subarray(0, 16), first.tags.subarray(32)])
  await expect({ hashes: first.hashes, tags: swapped }, 2, 'swapped tags')
  const flipped = Buffer.from(first.hashes)
  flipped[31] = (flipped[31] ?? 0) ^ 1
  await expect({ hashes: flipped, tags: first.tags }, 1, 'a damaged hash')
  const keyed = await pool(t).rehashBlocks(fd, content.length, 0, 6, first)
  t.is(keyed.hashedBlocks, 6, 'another key')
  t.deepEqual(keyed.hashes, hashes)
  t.deepEqual(await reader.hashBlocks(fd, content.length, 0, 6), hashes)
})

test('a changed block with its old tag beside its new hash, or the other way round, is hashed', async (t) => {
  const { content, fd, first, again } = await tagged(t, 1)
  const old = Buffer.from(content)
  randomBytes(4096).copy(content, 4096)
  writeSync(fd, content, 0, content.length, 0)
  const second = await again(null)
  for (const [bytes, mixed] of [
    [content, { hashes: first.hashes, tags: second.tags }],
    [content, { hashes: second.hashes, tags: first.tags }],
    [old, { hashes: first.hashes, tags: second.tags }],
    [old, { hashes: second.hashes, tags: first.tags }],
  ] as const) {
    writeSync(fd, bytes, 0, bytes.length, 0)
    const found = await again(mixed)
    t.is(found.hashedBlocks, 1)
    t.deepEqual(found.hashes, blockHashes(bytes))
  }
})

test('tags outlive the pool with the same key', async (t) => {
  const { content, fd } = await tagged(t, 5)
  const tagKey = randomBytes(16)
  await using one = openBlockPool({ threads: 1, tagKey })
  await using two = openBlockPool({ threads: 1, tagKey })
  const known = await one.rehashBlocks(fd, content.length, 0, 5, null)
  t.is((await two.rehashBlocks(fd, content.length, 0, 5, known)).hashedBlocks, 0)
})

test('holes are neither read nor hashed nor tagged', async (t) => {
  const { content, fd, again } = await tagged(t, 5)
  const known = await again(null)
  punchHole(fd, BLOCK, BLOCK)
  content.fill(0, BLOCK, 2 * BLOCK)
  const holed = await again(known)
  t.is(holed.hashedBlocks, 0)
  t.deepEqual(holed.hashes, blockHashes(content))
  t.true(holed.tags.subarray(16, 32).equals(Buffer.alloc(16)))
  writeSync(fd, content, BLOCK, BLOCK, BLOCK)
  const zeros = await again(holed)
  t.is(zeros.hashedBlocks, 1)
  t.deepEqual(zeros.hashes, holed.hashes)
  t.is((await again(zeros)).hashedBlocks, 0)
})

type Edit =
  | { readonly kind: 'write' | 'punch' | 'zeros'; readonly at: number; readonly length: number }
  | { readonly kind: 'size'; readonly sizeBytes: number }

const MOST = 12 * BLOCK
const place = { at: fc.nat(MOST), length: fc.integer({ min: 1, max: 3 * BLOCK }) }
const edit: fc.Arbitrary<Edit> = fc.oneof(
  fc.record({ kind: fc.constantFrom('write', 'write', 'punch', 'zeros'), ...place }),
  fc.record({ kind: fc.constant('size' as const), sizeBytes: fc.integer({ min: 4 * BLOCK + 1, max: MOST }) }),
)

/** Makes an edit in a file and in what it should have; answers the latter. */
function make(fd: number, content: Buffer, change: Edit): Buffer {
  if (change.kind === 'size') {
    ftruncateSync(fd, change.sizeBytes)
    return Buffer.concat([content.subarray(0, change.sizeBytes), Buffer.alloc(MOST)]).subarray(0, change.sizeBytes)
  }
  const { kind, at } = change
  const length = Math.min(change.length, content.length - at)
  if (length <= 0) return content
  const data = kind === 'write' ? randomBytes(length) : Buffer.alloc(length)
  if (kind === 'punch') punchHole(fd, at, length)
  else writeSync(fd, data, 0, length, at)
  data.copy(content, at)
  return content
}

test('after any edits the hashes are those of a full reading, whatever range is asked for', async (t) => {
  const reader = pool(t, 2)
  const rounds = fc.array(fc.tuple(fc.array(edit, { maxLength: 4 }), fc.nat(11), fc.nat(12)), { maxLength: 8 })
  await fc.assert(
    fc.asyncProperty(rounds, async (edits) => {
      const path = join(poolDirectory(t), 'file')
      let content: Buffer = randomBytes(MOST - 999)
      writeFileSync(path, content)
      const fd = held(t, path, 'r+')
      let known: TaggedBlocks | null = null
      for (const [changes, from, wanted] of edits) {
        for (const change of changes) content = make(fd, content, change)
        const hashes = blockHashes(content)
        const blocks = hashes.length / 32
        const all: TaggedBlocks = await reader.rehashBlocks(fd, content.length, 0, blocks, known)
        t.deepEqual(all.hashes, hashes)
        const first = Math.min(from, blocks)
        const count = Math.min(wanted, blocks - first)
        const tail = { hashes: all.hashes.subarray(first * 32), tags: all.tags.subarray(first * 16) }
        const part = await reader.rehashBlocks(fd, content.length, first, count, tail)
        t.deepEqual(part.hashes, hashes.subarray(first * 32, (first + count) * 32))
        t.is(part.hashedBlocks, 0)
        known = all
      }
    }),
    { numRuns: RUNS },
  )
})
