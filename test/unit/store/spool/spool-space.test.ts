import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { describeTree } from '../comparer.ts'
import { edit } from '../edits.ts'
import { fileSystem } from '../file-systems.ts'
import { newVolume, storeHost } from '../fixture.ts'
import { quotaOf } from '../quota.ts'
import { Held } from './held.ts'

const MIB = 1024 * 1024

/** The checkpoint before can still be read, and nothing is left of the one that did not fit. */
async function checkStands(t: ExecutionContext, it: Held, then: string[]): Promise<void> {
  const copy = await it.host.store.copy(it.volume.id)
  const spool = join(it.host.stateDir, 'volumes', it.volume.id, 'spool')
  t.deepEqual(readdirSync(spool), [copy?.checkpoint?.hash])
  const two = await storeHost(t)
  if (copy?.checkpoint == null) return t.fail()
  t.true((await it.copyTo(two, copy.checkpoint)).complete)
  t.deepEqual(describeTree(two.data(it.volume.id)), then)
}

test('a checkpoint that does not fit on the disk is refused, and the one before stands', async (t) => {
  const small = fileSystem(t, 'ext4', { mebibytes: 64 })
  const it = await Held.begin(await storeHost(t, join(small, 'state')), newVolume())
  writeFileSync(join(it.data, 'file'), randomBytes(15 * MIB))
  await it.take()
  const then = describeTree(it.data)
  writeFileSync(join(it.data, 'file'), randomBytes(15 * MIB))
  const foreign = join(small, 'foreign')
  writeFileSync(foreign, randomBytes(8 * MIB))
  await t.throwsAsync(it.rounds(1), { code: 'DISK_FULL', message: /\d+ bytes needed, \d+ available/ })
  await t.throwsAsync(it.take(), { code: 'DISK_FULL' })
  await checkStands(t, it, then)
  rmSync(foreign)
  await it.rounds(1)
  await it.take()
  await checkStands(t, it, describeTree(it.data))
  await it.host.store[Symbol.asyncDispose]()
})

test('a quota that is used up in the middle of a round harms nothing', async (t) => {
  const btrfs = fileSystem(t, 'btrfs')
  const limit = quotaOf(btrfs, join(btrfs, 'state'))
  const it = await Held.begin(await storeHost(t, join(btrfs, 'state')), newVolume())
  writeFileSync(join(it.data, 'file'), randomBytes(15 * MIB))
  await it.take()
  const then = describeTree(it.data)
  writeFileSync(join(it.data, 'file'), randomBytes(15 * MIB))
  execFileSync('sync', ['-f', btrfs])
  limit(40)
  await t.throwsAsync(it.rounds(1), { code: 'DISK_FULL', message: /quota/ })
  await checkStands(t, it, then)
  limit(500)
  await it.rounds(1)
  await it.take()
  await checkStands(t, it, describeTree(it.data))
  await it.host.store[Symbol.asyncDispose]()
})

test('where space is short a large new file is left out of the spool, but not its later changes', async (t) => {
  const small = fileSystem(t, 'ext4', { mebibytes: 256 })
  const it = await Held.begin(await storeHost(t, join(small, 'state')), newVolume())
  const two = await storeHost(t)
  const file = join(it.data, 'file')
  writeFileSync(join(it.data, 'small'), 'small')
  await it.take()
  writeFileSync(file, randomBytes(100 * MIB))
  writeFileSync(join(it.data, 'small'), 'other')
  t.true((await it.rounds(1)) < MIB)
  t.true((await it.copyTo(two, await it.take())).complete)
  const content = readFileSync(file)
  edit(it.data, [['overwrite', 'file', 5 * MIB, 10, 1]])
  t.is(await it.rounds(1), 16 * 1024)
  const taken = await it.take()
  const then = describeTree(it.data)
  writeFileSync(file, content)
  t.true((await it.copyTo(two, taken)).complete)
  t.deepEqual(describeTree(two.data(it.volume.id)), then)
  await it.host.store[Symbol.asyncDispose]()
})

test('how much room there is', async (t) => {
  const small = fileSystem(t, 'ext4', { mebibytes: 64 })
  const { store } = await storeHost(t, join(small, 'state'))
  const before = await store.space()
  t.true(before.totalBytes > 40 * MIB && before.totalBytes < 64 * MIB)
  writeFileSync(join(small, 'file'), randomBytes(10 * MIB))
  t.is(before.freeBytes - (await store.space()).freeBytes, 10 * MIB)
  await store[Symbol.asyncDispose]()
})
