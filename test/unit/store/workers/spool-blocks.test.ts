import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { ftruncateSync, mkdirSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { BLOCK, blockHashes, held, heldDirectory, KIB, pool, poolDirectory, sha256Of } from './fixture.ts'

const TAG_BYTES = 16
const { ENOENT, EINVAL, ELOOP } = constants.errno

test('blocks are copied to their places and hashed as they were copied, holes stay holes', async (t) => {
  const directory = poolDirectory(t)
  const [from, to] = [held(t, join(directory, 'from'), 'w+'), held(t, join(directory, 'to'), 'w+')]
  const content = Buffer.alloc(5 * BLOCK + 100)
  const data = randomBytes(content.length)
  for (const [start, end] of [
    [0, BLOCK + 4 * KIB],
    [3 * BLOCK + 8 * KIB, 3 * BLOCK + 12 * KIB],
    [5 * BLOCK, content.length],
  ] as const) {
    data.copy(content, start, start, end)
    writeSync(from, data, start, end - start, start)
  }
  // What lay there before must not show through.
  writeFileSync(join(directory, 'to'), randomBytes(8 * BLOCK))
  const copies = [5, 2, 1, 3].map((block, nth) => ({ block, place: nth * BLOCK, used: true }))
  const hashes = await pool(t).spoolBlocks(from, to, content.length, copies, null)
  const expected = blockHashes(content)
  const copied = readFileSync(join(directory, 'to'))
  for (const [nth, { block, place }] of copies.entries()) {
    t.deepEqual(hashes.subarray(nth * 32, nth * 32 + 32), expected.subarray(block * 32, block * 32 + 32))
    const wanted = content.subarray(block * BLOCK, (block + 1) * BLOCK)
    t.true(copied.subarray(place, place + wanted.length).equals(wanted), `block ${block}`)
  }
  ftruncateSync(to, 4 * BLOCK)
  t.true(statSync(join(directory, 'to')).blocks * 512 <= BLOCK + 16 * KIB)
})

test('a hash is taken over where a tag proves it, and only there', async (t) => {
  const directory = poolDirectory(t)
  const content = randomBytes(5 * BLOCK)
  writeFileSync(join(directory, 'from'), content)
  const [from, to] = [held(t, join(directory, 'from'), 'r+'), held(t, join(directory, 'to'), 'w+')]
  const blocks = pool(t)
  const known = await blocks.rehashBlocks(from, content.length, 0, 5, null)
  writeSync(from, 'other', BLOCK)
  const now = readFileSync(join(directory, 'from'))
  const copies = [0, 1, 2, 3, 4].map((block) => ({ block, place: block * BLOCK, used: false }))
  t.deepEqual(await blocks.spoolBlocks(from, to, content.length, copies, known), blockHashes(now))
  t.true(readFileSync(join(directory, 'to')).equals(now))
  // A hash that was never this content's, with a tag of something else.
  const wrong = { hashes: randomBytes(5 * 32), tags: Buffer.alloc(5 * TAG_BYTES, known.tags) }
  t.deepEqual(await blocks.spoolBlocks(from, to, content.length, copies, wrong), blockHashes(now))
})

test('what a file has lost since stands as zeros', async (t) => {
  const directory = poolDirectory(t)
  const content = randomBytes(5 * BLOCK)
  writeFileSync(join(directory, 'from'), content.subarray(0, BLOCK + 10))
  const [from, to] = [held(t, join(directory, 'from')), held(t, join(directory, 'to'), 'w+')]
  const hashes = await pool(t).spoolBlocks(from, to, content.length, [{ block: 1, place: 0, used: false }], null)
  const expected = Buffer.concat([content.subarray(BLOCK, BLOCK + 10), Buffer.alloc(BLOCK - 10)])
  t.deepEqual(hashes, sha256Of(expected))
})

test('small files are copied one after the other, whatever became of them', async (t) => {
  const directory = poolDirectory(t)
  const to = held(t, join(directory, 'to'), 'w+')
  execFileSync('sh', ['-c', 'mkfifo fifo; ln -s good link'], { cwd: directory })
  mkdirSync(join(directory, 'dir'))
  writeFileSync(join(directory, 'good'), 'good')
  writeFileSync(join(directory, 'longer'), 'longer')
  writeFileSync(join(directory, 'shorter'), 's')
  const wanted: [string, string, number][] = [
    ['good', 'good', 0],
    ['longer', 'long', 1],
    ['gone', '\0\0', ENOENT],
    ['shorter', 's\0\0', 1],
    ['fifo', '\0', EINVAL],
    ['link', '\0\0\0\0', ELOOP],
    ['good', 'good', 0],
  ]
  const names = wanted.map(([name]) => name)
  const sizes = wanted.map(([, content]) => content.length)
  const { hashes, outcomes } = await pool(t).spoolFiles(heldDirectory(t, directory), names, sizes, to, 3)
  t.deepEqual(
    [...outcomes],
    wanted.map(([, , outcome]) => outcome),
  )
  for (const [nth, [name, content]] of wanted.entries()) {
    t.deepEqual(hashes.subarray(nth * 32, nth * 32 + 32), sha256Of(Buffer.from(content)), name)
  }
  t.is(readFileSync(`/proc/self/fd/${to}`, 'latin1'), `\0\0\0${wanted.map(([, content]) => content).join('')}`)
})
