import { randomBytes } from 'node:crypto'
import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { untilTrue } from '../until.ts'
import { describeTree } from './comparer.ts'
import { fileSystem } from './file-systems.ts'
import { answer, calm, captureCheckpoint, move, newVolume, send, storeHost } from './fixture.ts'
import { fillDisk } from './full-disk.ts'

test('promise 4: a disk that is too small is refused; one that fills up keeps the old checkpoint', async (t) => {
  const small = fileSystem(t, 'ext4', { mebibytes: 64 })
  const [one, two] = [await storeHost(t), await storeHost(t, join(small, 'state'))]
  const v = newVolume()
  await one.store.create(v)
  const data = one.data(v.id)
  writeFileSync(join(data, 'file'), randomBytes(10_000_000))
  await move(one.store, two.store, v)
  const before = describeTree(two.data(v.id))

  // What is new is staged, and what makes the file longer is written in place once more.
  writeFileSync(join(data, 'file'), randomBytes(15_000_000))
  writeFileSync(join(data, 'other'), randomBytes(60_000_000))
  await one.store.capture(v.id, 'quiet', calm)
  await t.throwsAsync(send(one.store, two.store, v), { code: 'DISK_FULL', message: /\d+ bytes needed, \d+ available/ })
  rmSync(join(data, 'other'))
  for (let n = 0; n < 2000; n += 1) writeFileSync(join(data, `f${n}`), randomBytes(30_000))
  await one.store.capture(v.id, 'quiet', calm)
  await t.throwsAsync(send(one.store, two.store, v), { code: 'DISK_FULL', message: /\d+ bytes needed, \d+ available/ })
  for (let n = 0; n < 2000; n += 1) rmSync(join(data, `f${n}`))

  const capture = await one.store.capture(v.id, 'quiet', calm)
  await using reader = await one.store.reader({ id: v.id, kind: 'last' })
  await using writer = await two.store.writer(v)
  await writer.begin(reader.manifest())
  const foreign = join(small, 'foreign')
  const filling = async () => {
    for (let want = await writer.next(); want !== null; want = await writer.next()) {
      await answer(reader, writer, want)
      // Writes come after the reply: something must be staged before the disk is full.
      if (want.kind !== 'blocks' || existsSync(foreign)) continue
      await untilTrue(() => writer.progress().bytesDone > 0)
      fillDisk(foreign)
    }
    return await writer.finish()
  }
  await t.throwsAsync(filling(), { code: 'DISK_FULL' })
  await t.throwsAsync(writer.finish(), { code: 'DISK_FULL' })
  await t.throwsAsync(writer.next(), { code: 'DISK_FULL' })
  t.deepEqual(describeTree(two.data(v.id)), before)
  await writer[Symbol.asyncDispose]()
  t.is((await two.store.copy(v.id))?.applying, false)
  // Its mountpoint is on the same disk and was never made.
  await t.throwsAsync(two.store.mount(v.id), { code: 'DISK_FULL' })

  rmSync(foreign)
  const { sentBytes } = await send(one.store, two.store, v)
  t.true(sentBytes < 15_000_000, 'what had come was used')
  await two.store.apply(v.id, captureCheckpoint(capture, 2))
  t.deepEqual(describeTree(two.data(v.id)), describeTree(data))
  await two.store[Symbol.asyncDispose]()
})

test('promise 4: a disk that fills up in an apply leaves a copy that no host gets until there is space', async (t) => {
  const small = fileSystem(t, 'ext4', { mebibytes: 64 })
  const foreign = join(small, 'foreign')
  let filling = false
  // Space was checked, and COMMIT is written: there is no way back.
  const faultPoint = (step: string) => {
    if (filling && step === 'applying') fillDisk(foreign)
  }
  const [one, two] = [await storeHost(t), await storeHost(t, join(small, 'state'), faultPoint)]
  const v = newVolume()
  await one.store.create(v)
  const data = one.data(v.id)
  writeFileSync(join(data, 'file'), randomBytes(5_000_000))
  await move(one.store, two.store, v)
  // It grows in place.
  writeFileSync(join(data, 'file'), randomBytes(12_000_000))
  const next = captureCheckpoint(await one.store.capture(v.id, 'quiet', calm), 2)
  await send(one.store, two.store, v)
  filling = true
  await t.throwsAsync(two.store.apply(v.id, next), { code: 'DISK_FULL' })
  t.like(await two.store.copy(v.id), { applying: true, checkpoint: { seq: 1 } })
  await t.throwsAsync(two.store.mount(v.id), { code: 'COPY_DAMAGED' })
  await t.throwsAsync(two.store.reader({ id: v.id, kind: 'last' }), { code: 'COPY_DAMAGED' })
  filling = false
  await two.store.recover()
  t.true((await two.store.copy(v.id))?.applying, 'there is no room yet')

  rmSync(foreign)
  await two.store.recover()
  t.like(await two.store.copy(v.id), { applying: false, checkpoint: { seq: 2 } })
  t.deepEqual(describeTree(two.data(v.id)), describeTree(data))
  await two.store[Symbol.asyncDispose]()
})

test('a tree that this file system cannot hold is refused before the old one is touched', async (t) => {
  // Inodes of 128 bytes have no room for nanoseconds, nor for years after 2038.
  const small = fileSystem(t, 'ext4', { mebibytes: 64, mkfs: ['-I', '128'] })
  const [one, two] = [await storeHost(t), await storeHost(t, join(small, 'state'))]
  const v = newVolume()
  await one.store.create(v)
  await two.store.create(v)
  writeFileSync(join(two.data(v.id), 'old'), 'old')
  const before = describeTree(two.data(v.id))
  writeFileSync(join(one.data(v.id), 'new'), 'new')
  const capture = await one.store.capture(v.id, 'quiet', calm)
  await send(one.store, two.store, v)
  await t.throwsAsync(two.store.apply(v.id, captureCheckpoint(capture)), { code: 'TREE_UNSUPPORTED' })
  t.deepEqual(describeTree(two.data(v.id)), before)
  t.false((await two.store.copy(v.id))?.applying)
  await two.store[Symbol.asyncDispose]()
})
