import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { appendFileSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { describeTree } from '../comparer.ts'
import { fileSystem } from '../file-systems.ts'
import { calm, captureCheckpoint, move, newVolume, send, storeHost, temporaryDirectory } from '../fixture.ts'

/** Whole blocks: what is sent is then exactly what was written. */
const MIB = 1024 * 1024

test('a copy that was cut off goes on where it stopped, also within a sparse file and after a restart', async (t) => {
  const [one, two] = [await storeHost(t), await storeHost(t)]
  const v = newVolume()
  await one.store.create(v)
  writeFileSync(join(one.data(v.id), 'a'), randomBytes(3 * MIB))
  const file = await open(join(one.data(v.id), 'b'), 'w')
  for (const offset of [0, 5 * MIB, 20 * MIB]) await file.write(randomBytes(MIB), 0, MIB, offset)
  await file.truncate(40 * MIB)
  await file.close()
  const capture = await one.store.capture(v.id, 'quiet', calm)
  const cut = await send(one.store, two.store, v, 'last', 4_500_000)
  t.false(cut.complete)
  await t.throwsAsync(two.store.apply(v.id, captureCheckpoint(capture)), { code: 'STAGE_INCOMPLETE' })
  await two.store[Symbol.asyncDispose]()

  const again = await storeHost(t, two.stateDir)
  const rest = await send(one.store, again.store, v)
  t.true(cut.sentBytes > 0)
  t.is(rest.sentBytes, 6 * MIB - cut.sentBytes)
  await again.store.apply(v.id, captureCheckpoint(capture))
  t.deepEqual(describeTree(again.data(v.id)), describeTree(one.data(v.id)))
})

test('a tree sent ahead makes the copy at the checkpoint small', async (t) => {
  const [one, two] = [await storeHost(t), await storeHost(t)]
  const v = newVolume()
  await one.store.create(v)
  for (let n = 0; n < 20; n += 1) writeFileSync(join(one.data(v.id), `f${n}`), randomBytes(200_000))
  await one.store.capture(v.id, 'live', calm)
  t.is((await send(one.store, two.store, v, 'live')).sentBytes, 4_000_000)
  appendFileSync(join(one.data(v.id), 'f3'), 'more')
  // Its last block alone: twelve whole blocks of 16 KiB come before it.
  t.is((await move(one.store, two.store, v)).sentBytes, 200_004 - 12 * 16_384)
  t.deepEqual(describeTree(two.data(v.id)), describeTree(one.data(v.id)))
})

test('one writer per volume at a time', async (t) => {
  const two = await storeHost(t)
  const v = newVolume()
  const writer = await two.store.writer(v)
  await t.throwsAsync(two.store.writer(v), { code: 'COPY_RUNNING' })
  await t.throwsAsync(two.store.trash(v.id), { code: 'COPY_RUNNING' })
  await writer[Symbol.asyncDispose]()
  await (await two.store.writer(v))[Symbol.asyncDispose]()
})

test('an apply of another checkpoint than the staged one touches nothing', async (t) => {
  const [one, two] = [await storeHost(t), await storeHost(t)]
  const v = newVolume()
  await one.store.create(v)
  writeFileSync(join(one.data(v.id), 'file'), 'one')
  await move(one.store, two.store, v)
  const before = describeTree(two.data(v.id))
  writeFileSync(join(one.data(v.id), 'file'), 'two')
  const capture = await one.store.capture(v.id, 'quiet', calm)
  await t.throwsAsync(two.store.apply(v.id, captureCheckpoint(capture)), { code: 'STAGE_INCOMPLETE' })
  await send(one.store, two.store, v)
  await t.throwsAsync(two.store.apply(v.id, { ...captureCheckpoint(capture), hash: 'f'.repeat(64) }), {
    code: 'HASH_MISMATCH',
  })
  t.deepEqual(describeTree(two.data(v.id)), before)
  t.is((await two.store.copy(v.id))?.applying, false)
})

test('a tree that was changed by hand after the copy was filled is put right, not believed', async (t) => {
  const [one, two] = [await storeHost(t), await storeHost(t)]
  const v = newVolume()
  await one.store.create(v)
  mkdirSync(join(one.data(v.id), 'sub'))
  writeFileSync(join(one.data(v.id), 'sub', 'file'), 'good')
  await move(one.store, two.store, v)
  const outside = await temporaryDirectory(t)
  writeFileSync(join(outside, 'file'), 'untouched')
  rmSync(join(two.data(v.id), 'sub'), { recursive: true })
  symlinkSync(outside, join(two.data(v.id), 'sub'))
  writeFileSync(join(two.data(v.id), 'extra'), 'good')
  await move(one.store, two.store, v, 2)
  t.deepEqual(describeTree(two.data(v.id)), describeTree(one.data(v.id)))
  t.is(execFileSync('cat', [join(outside, 'file')], { encoding: 'utf8' }), 'untouched')
})

test('after a restart staged content is read again before it is believed', async (t) => {
  const [one, two] = [await storeHost(t), await storeHost(t)]
  const v = newVolume()
  await one.store.create(v)
  writeFileSync(join(one.data(v.id), 'small'), 'content')
  writeFileSync(join(one.data(v.id), 'large'), randomBytes(MIB))
  const capture = await one.store.capture(v.id, 'quiet', calm)
  t.true((await send(one.store, two.store, v)).complete)
  await two.store[Symbol.asyncDispose]()
  const staged = join(two.stateDir, 'volumes', v.id, 'stage', 'new')
  writeFileSync(join(staged, 'small'), 'c0ntent')
  const file = await open(join(staged, 'large'), 'r+')
  await file.write(Buffer.alloc(4096), 0, 4096, 300_000)
  await file.close()

  const again = await storeHost(t, two.stateDir)
  await t.throwsAsync(again.store.apply(v.id, captureCheckpoint(capture)), { code: 'STAGE_INCOMPLETE' })
  t.is((await move(one.store, again.store, v)).sentBytes, 7 + 16_384)
  t.deepEqual(describeTree(again.data(v.id)), describeTree(one.data(v.id)))
})

test('dropping the stage forgets what was sent ahead and leaves the tree', async (t) => {
  const [one, two] = [await storeHost(t), await storeHost(t)]
  const v = newVolume()
  await one.store.create(v)
  writeFileSync(join(one.data(v.id), 'file'), 'content')
  const capture = await one.store.capture(v.id, 'quiet', calm)
  await send(one.store, two.store, v)
  await two.store.dropStage(v.id)
  await t.throwsAsync(two.store.apply(v.id, captureCheckpoint(capture)), { code: 'STAGE_INCOMPLETE' })
  t.is((await send(one.store, two.store, v)).sentBytes, 7)
})

test('a large file that is not to be copied on write is made so where the file system can (btrfs)', async (t) => {
  const btrfs = fileSystem(t, 'btrfs')
  const one = await storeHost(t, join(btrfs, 'one'))
  const two = await storeHost(t, join(btrfs, 'two'))
  const v = newVolume()
  await one.store.create(v)
  const path = join(one.data(v.id), 'db')
  writeFileSync(path, '')
  execFileSync('chattr', ['+C', path])
  writeFileSync(path, randomBytes(MIB), { flag: 'a' })
  await move(one.store, two.store, v)
  t.regex(execFileSync('lsattr', [join(two.data(v.id), 'db')], { encoding: 'utf8' }), /^[^ ]*C/)
  await one.store[Symbol.asyncDispose]()
  await two.store[Symbol.asyncDispose]()
})
