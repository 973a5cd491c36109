import { randomBytes } from 'node:crypto'
import { closeSync, existsSync, openSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs'
import { basename, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { StoreOptions } from '../../../../agent/store/store.ts'
import { dropCached } from '../../../../agent/sys/files.ts'
import { writeBelow } from '../below.ts'
import { differences } from '../comparer.ts'
import { fileSystem } from '../file-systems.ts'
import { calm, newVolume, storeHost } from '../fixture.ts'
import { Writer } from '../mmap/writer.ts'
import { buildObject } from '../tracker/fixture.ts'
import { Held } from './held.ts'

const BLOCK_BYTES = 16 * 1024
const SMALL_BYTES = 8 * 1024

const DROP_EVERY = 1000
/** So many that a round audits all of them: 64 blocks, 4 of each. */
const DROP_FILES = 16
const DROP_FILE_BLOCKS = 8
/** Each of them dirties 7 blocks of 16 files, an event each: nine have the thousandth. */
const CHECKPOINTS_MAX = 10
/** A block of 8 that was missed is missed by four tries with (7/8) ** 4 = 0.586, in 27 rounds with 5.4e-7. */
const ROUNDS_MAX = 27

/**
 * A block of 5 that changed is missed by four tries with (4/5) ** 4 = 0.41, in 18 rounds with 1e-7.
 * All files of the tree are read in each.
 */
const BELOW_ROUNDS_MAX = 18

const WRITER_ROUNDS = 200
const WRITER_FILES = 120

/** A held volume with files that its kept tree knows as final and its tracker watches, and a copy of it. */
async function tracked(t: ExecutionContext, sizes: Record<string, number>, more: Partial<StoreOptions> = {}) {
  const root = fileSystem(t, 'ext4', { inMemory: true })
  const one = await storeHost(t, join(root, 'one'), undefined, { trackerObject: buildObject(), ...more })
  const two = await storeHost(t, join(root, 'two'))
  const it = await Held.begin(one, newVolume())
  for (const [name, bytes] of Object.entries(sizes)) writeFileSync(join(it.data, name), randomBytes(bytes))
  const checkpoint = async () => (await it.copyTo(two, await it.take())).complete
  t.true(await checkpoint())
  t.true(await checkpoint())
  return { root, it, copy: two.data(it.volume.id), checkpoint }
}

/** Dirties one page of some blocks of a file. What lies in the page cache in large pieces would be dirtied by them. */
function dirty(file: string, blocks: readonly number[]): void {
  const fd = openSync(file, 'r+')
  dropCached(fd)
  for (const block of blocks) writeSync(fd, randomBytes(10), 0, 10, block * BLOCK_BYTES)
  closeSync(fd)
}

/** Rounds until the audit finds something, or there were enough of them. */
async function rounds(it: Held, most: number, before: () => void = () => {}): Promise<void> {
  for (let round = 0; round < most; round++) {
    before()
    await it.host.store.spoolRound(it.volume.id, calm)
  }
}

test('promise 5: the audit finds a tracker that drops events, and the next checkpoint has all it missed', async (t) => {
  const names = Array.from({ length: DROP_FILES }, (_, nth) => `file${nth}`)
  const sizes = Object.fromEntries(names.map((name) => [name, DROP_FILE_BLOCKS * BLOCK_BYTES]))
  const { it, copy, checkpoint } = await tracked(t, sizes, { dropEvery: DROP_EVERY })
  const files = names.map((name) => join(it.data, name))
  const rest = Array.from({ length: DROP_FILE_BLOCKS - 1 }, (_, nth) => nth + 1)
  // A checkpoint without a round before it audits nothing.
  let missed = false
  for (let nth = 0; nth < CHECKPOINTS_MAX && !missed; nth++) {
    for (const file of files) dirty(file, rest)
    t.true(await checkpoint())
    missed = !files.every((file) => readFileSync(file).equals(readFileSync(join(copy, basename(file)))))
  }
  t.true(missed, 'each copy is as its volume: the tracker missed nothing')
  const audited = rounds(it, ROUNDS_MAX, () => {
    for (const file of files) dirty(file, [0])
  })
  const error = await t.throwsAsync(audited, { code: 'CHANGES_MISSED' })
  const [, from, to, name] = /bytes (\d+) to (\d+) of "(file\d+)" in volume data/.exec(error?.message ?? '') ?? []
  const part = (directory: string) => readFileSync(join(directory, name ?? '')).subarray(Number(from), Number(to))
  t.false(part(it.data).equals(part(copy)), 'what is named is not what was missed')
  t.false(
    existsSync(join(it.host.stateDir, 'volumes', it.volume.id, 'last.seen')),
    'after a restart nothing is believed either',
  )
  const { bytesRead, scanned } = await it.host.store.spoolRound(it.volume.id, calm)
  t.is(bytesRead, DROP_FILES * DROP_FILE_BLOCKS * BLOCK_BYTES)
  t.regex(scanned ?? '', /did not report/)
  t.true(await checkpoint())
  t.deepEqual(differences(it.data, copy), [])
})

for (const [name, bytes] of [
  ['small', SMALL_BYTES],
  ['large', 5 * BLOCK_BYTES],
] as const) {
  test(`promise 5: the audit finds an untouched ${name} file with other content under an old ctime`, async (t) => {
    const { root, it, copy, checkpoint } = await tracked(t, {
      first: SMALL_BYTES,
      [name]: bytes,
      third: 6 * BLOCK_BYTES,
    })
    const file = join(it.data, name)
    // Reading it moves its atime, and then it would be one that was touched.
    const content = readFileSync(file)
    await rounds(it, 2)
    t.true(await checkpoint())
    const state = () => {
      const { ino, size, ctimeNs, mtimeNs } = statSync(file, { bigint: true })
      return { ino, size, ctimeNs, mtimeNs }
    }
    const then = state()
    writeBelow(root, file, bytes - 100, randomBytes(100))
    t.deepEqual(state(), then)
    t.false(readFileSync(file).equals(content), 'the file is still what it was')
    t.true(await checkpoint())
    t.true(readFileSync(join(copy, name)).equals(content), 'the scan finds it')
    const error = await t.throwsAsync(rounds(it, BELOW_ROUNDS_MAX), { code: 'CHANGES_MISSED' })
    t.regex(
      error?.message ?? '',
      new RegExp(`bytes ${bytes === SMALL_BYTES ? 0 : bytes - BLOCK_BYTES} to ${bytes} of "${name}"`),
    )
    const { bytesRead, scanned } = await it.host.store.spoolRound(it.volume.id, calm)
    t.is(bytesRead, SMALL_BYTES + bytes + 6 * BLOCK_BYTES)
    t.regex(scanned ?? '', /did not report/)
    t.true(await checkpoint())
    t.deepEqual(differences(it.data, copy), [])
    t.deepEqual(state(), then)
  })
}

test('promise 5: programs that write to files that were untouched do not alarm the audit', async (t) => {
  const sizes = Object.fromEntries(
    Array.from({ length: WRITER_FILES }, (_, nth) => [`file${nth}`, nth % 2 === 0 ? SMALL_BYTES : 5 * BLOCK_BYTES]),
  )
  const { it, copy, checkpoint } = await tracked(t, sizes)
  const files = Object.keys(sizes).map((name) => join(it.data, name))
  const writers = [await Writer.start(t, 'spread', 1, files), await Writer.start(t, 'spread', 2, files)]
  await t.notThrowsAsync(rounds(it, WRITER_ROUNDS))
  for (const writer of writers) await writer.stop()
  t.is((await it.host.store.spoolRound(it.volume.id, calm)).scanned, null)
  t.true(await checkpoint())
  t.deepEqual(differences(it.data, copy), [])
})
