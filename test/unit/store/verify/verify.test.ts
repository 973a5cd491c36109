import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { lstatSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { Checkpoint } from '../../../../agent/model/model.ts'
import { setMtime } from '../../../../agent/sys/attributes.ts'
import { describeTree } from '../comparer.ts'
import { fileSystem, imageOf } from '../file-systems.ts'
import { calm, captureCheckpoint, newVolume, type StoreHost, send, storeHost } from '../fixture.ts'
import { buildObject } from '../tracker/fixture.ts'

const MB = 1_000_000
const BLOCK_BYTES = 16 * 1024

interface Pair {
  readonly one: StoreHost
  readonly two: StoreHost
  readonly v: ReturnType<typeof newVolume>
  readonly at: Checkpoint
}

/** Two hosts with the same copy; the second one's lies in `state`. */
async function pair(t: ExecutionContext, build: (data: string) => void, state?: string): Promise<Pair> {
  const [one, two] = [await storeHost(t), await storeHost(t, state)]
  const v = newVolume()
  await one.store.create(v)
  build(one.data(v.id))
  const at = captureCheckpoint(await one.store.capture(v.id, 'quiet', calm))
  await send(one.store, two.store, v)
  await two.store.apply(v.id, at)
  return { one, two, v, at }
}

/** Changes one byte of a file and gives it its times back. */
async function damage(path: string, offset: number): Promise<void> {
  const { mtimeNs } = lstatSync(path, { bigint: true })
  await using file = await open(path, 'r+')
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, offset)
  await file.write(Buffer.from([(buffer[0] ?? 0) ^ 0xff]), 0, 1, offset)
  await file.sync()
  setMtime(Buffer.from(path), mtimeNs)
}

/** Finds a damaged copy refused, fetches what is damaged, finds it whole. Answers the bytes that were fetched. */
async function repair(t: ExecutionContext, { one, two, v, at }: Pair): Promise<number> {
  t.true(((await two.store.copy(v.id))?.damaged?.length ?? 0) > 0)
  for (const look of [async () => {}, async () => void (await two.store.capture(v.id, 'quiet', calm))]) {
    await look()
    for (const refused of [two.store.mount(v.id), two.store.reader({ id: v.id, kind: 'last' })])
      await t.throwsAsync(refused, { code: 'COPY_DAMAGED', message: /is damaged: / })
  }
  const { sentBytes, complete } = await send(one.store, two.store, v)
  t.true(complete)
  await two.store.apply(v.id, at)
  t.is((await two.store.copy(v.id))?.damaged, null)
  t.deepEqual(describeTree(two.data(v.id)), describeTree(one.data(v.id)))
  t.is((await two.store.verify(v.id, calm)).damagedCount, 0)
  t.is((await two.store.capture(v.id, 'quiet', calm)).hash, at.hash)
  return sentBytes
}

test('a damaged block of a large file is found, and only that block is fetched again', async (t) => {
  const copies = await pair(t, (data) => {
    writeFileSync(join(data, 'large'), randomBytes(100 * MB))
    for (let n = 0; n < 50; n += 1) writeFileSync(join(data, `small${n}`), randomBytes(n * 100))
  })
  const { two, v } = copies
  t.deepEqual((await two.store.verify(v.id, calm)).damaged, [])
  t.is((await two.store.copy(v.id))?.damaged, null)
  await damage(join(two.data(v.id), 'large'), 50 * MB)
  const found = await two.store.verify(v.id, calm)
  t.deepEqual(found.damaged, [{ path: '"large"', reason: 'content', detail: null, blocks: 1 }])
  t.is(found.filesChecked, 51)
  t.true(found.bytesRead > 100 * MB)
  t.is(await repair(t, copies), BLOCK_BYTES)
})

test('a copy that becomes held while it is read again is not marked as damaged', async (t) => {
  const { two, v, at } = await pair(t, (data) => writeFileSync(join(data, 'large'), randomBytes(50 * MB)))
  await damage(join(two.data(v.id), 'large'), 1)
  const verified = t.throwsAsync(two.store.verify(v.id, calm), { code: 'VOLUME_IN_USE' })
  await two.store.update(v.id, { held: { epoch: 2, incarnation: 'i' } })
  await verified
  const { damaged, checkpoint: now } = (await two.store.copy(v.id)) ?? {}
  t.deepEqual([damaged, now], [null, at])
})

test('damage below the file system, which no inode tells of, is found and repaired', async (t) => {
  const root = fileSystem(t, 'ext4', { mebibytes: 96 })
  const mark = randomBytes(64)
  const content = randomBytes(4 * MB)
  mark.copy(content, 3 * MB)
  const copies = await pair(t, (data) => writeFileSync(join(data, 'large'), content), join(root, 'state'))
  const { two, v } = copies
  const before = lstatSync(join(two.data(v.id), 'large'), { bigint: true })
  // A disk that gives back other bytes than were written.
  const disk = imageOf(root)
  execFileSync('sync', ['-f', two.data(v.id)])
  const at = readFileSync(disk).indexOf(mark)
  t.true(at > 0)
  const loop = execFileSync('losetup', ['-n', '-O', 'NAME', '-j', disk], { encoding: 'utf8' }).trim()
  {
    await using device = await open(loop, 'r+')
    await device.write(Buffer.from('rotten'), 0, 6, at)
    await device.sync()
  }
  execFileSync('sh', ['-c', 'echo 1 > /proc/sys/vm/drop_caches'])
  t.is(lstatSync(join(two.data(v.id), 'large'), { bigint: true }).ctimeNs, before.ctimeNs)
  t.is((await two.store.capture(v.id, 'quiet', calm)).filesRead, 0, 'a capture believes what was seen')
  t.deepEqual((await two.store.verify(v.id, calm)).damaged, [
    { path: '"large"', reason: 'content', detail: null, blocks: 1 },
  ])
  t.is(await repair(t, copies), BLOCK_BYTES)
  await two.store[Symbol.asyncDispose]()
})

test.serial('damage that was found stays known at the next look, though the kernel tells of no write', async (t) => {
  const root = fileSystem(t, 'ext4', { mebibytes: 96 })
  const { store, data } = await storeHost(t, join(root, 'state'), undefined, { trackerObject: buildObject() })
  const v = newVolume()
  await store.create(v)
  const content = randomBytes(4 * MB)
  writeFileSync(join(data(v.id), 'large'), content)
  await store.capture(v.id, 'quiet', calm)
  const at = captureCheckpoint(await store.capture(v.id, 'quiet', calm))
  await store.update(v.id, { checkpoint: at })
  execFileSync('sync', ['-f', data(v.id)])
  const disk = imageOf(root)
  const where = readFileSync(disk).indexOf(content.subarray(3 * MB, 3 * MB + 64))
  const loop = execFileSync('losetup', ['-n', '-O', 'NAME', '-j', disk], { encoding: 'utf8' }).trim()
  {
    await using device = await open(loop, 'r+')
    await device.write(Buffer.from('rotten'), 0, 6, where)
    await device.sync()
  }
  t.is((await store.verify(v.id, calm)).damagedCount, 1)
  t.not((await store.capture(v.id, 'quiet', calm)).hash, at.hash)
  t.deepEqual((await store.copy(v.id))?.damaged, ['"large"'])
  await store[Symbol.asyncDispose]()
})

for (const kind of ['ext4', 'xfs'] as const) {
  // Before the others: one of them drops all that is cached.
  test.serial(`damage on the disk is found though the memory still has what was written, on ${kind}`, async (t) => {
    const root = fileSystem(t, kind, { mebibytes: kind === 'ext4' ? 96 : 320 })
    const marks = { large: randomBytes(64), small: randomBytes(64) }
    const contents = { large: randomBytes(4 * MB), small: randomBytes(9_000) }
    marks.large.copy(contents.large, 3 * MB)
    marks.small.copy(contents.small, 5_000)
    const build = (data: string) => {
      for (const name of ['large', 'small'] as const) writeFileSync(join(data, name), contents[name])
    }
    const copies = await pair(t, build, join(root, 'state'))
    const { two, v } = copies
    execFileSync('sync', ['-f', two.data(v.id)])
    const isWhole = (name: 'large' | 'small') => readFileSync(join(two.data(v.id), name)).equals(contents[name])
    t.true(isWhole('large') && isWhole('small'))
    const loop = execFileSync('losetup', ['-n', '-O', 'NAME', '-j', imageOf(root)], { encoding: 'utf8' }).trim()
    for (const name of ['large', 'small'] as const) {
      const at = readFileSync(imageOf(root)).indexOf(marks[name])
      t.true(at > 0)
      await using device = await open(loop, 'r+')
      await device.write(Buffer.from('rotten'), 0, 6, at)
      await device.sync()
    }
    // What everybody else reads is right, until the host is started anew, or somebody drops what is cached.
    t.log(`cached: large ${isWhole('large')}, small ${isWhole('small')}`)
    const { damaged } = await two.store.verify(v.id, calm)
    t.deepEqual(damaged.map(({ path }) => path).sort(), ['"large"', '"small"'])
    await repair(t, copies)
    await two.store[Symbol.asyncDispose]()
  })
}

test('whatever else is not as it was is found by its path and put right', async (t) => {
  const copies = await pair(t, (data) => {
    for (const name of ['kept', 'flipped', 'longer', 'gone', 'chmod', 'kind', 'mark']) {
      writeFileSync(join(data, name), name)
    }
    execFileSync('sh', ['-c', 'ln kept kept-too; ln -s kept link; mkdir -p dir/sub; setfattr -n user.a -v b mark'], {
      cwd: data,
    })
  })
  const { two, v } = copies
  const data = two.data(v.id)
  await damage(join(data, 'flipped'), 3)
  writeFileSync(join(data, 'longer'), 'longer!')
  mkdirSync(join(data, 'dir', 'sub', 'extra'))
  const script =
    'rm gone; chmod 600 chmod; rm kind; mkfifo kind; setfattr -n user.a -v c mark; ' +
    'ln -sf else link; rm kept-too; cp kept kept-too'
  execFileSync('sh', ['-c', script], { cwd: data })
  const { damaged, damagedCount } = await two.store.verify(v.id, calm)
  const found = new Map(damaged.map(({ path, reason }) => [`${path} ${reason}`, reason]))
  for (const expected of [
    '"flipped" content',
    '"longer" content',
    '"gone" missing',
    '"chmod" attributes',
    '"kind" kind',
    '"mark" attributes',
    '"link" attributes',
    '"kept-too" kind',
    '"dir/sub/extra" extra',
    '"dir/sub" attributes',
  ]) {
    t.true(found.has(expected), `${expected} of ${[...found.keys()].join(', ')}`)
  }
  const details = new Map(damaged.map(({ path, detail }) => [path, detail]))
  t.is(details.get('"chmod"'), 'mode 600, was mode 644')
  t.regex(details.get('"dir/sub"') ?? '', /^time @\d+\.\d{9}, was time @\d+\.\d{9}$/)
  t.is(details.get('"mark"'), null, 'none of the plain ones')
  t.is(damagedCount, damaged.length)
  t.true((await repair(t, copies)) < 100)
})

test('a copy that is in use, was never at a checkpoint or is wanted meanwhile is not read again', async (t) => {
  const { two, v } = await pair(t, (data) => writeFileSync(join(data, 'file'), randomBytes(80 * MB)))
  const empty = newVolume()
  await two.store.create(empty)
  await t.throwsAsync(two.store.verify(empty.id, calm), { code: 'NOT_AT_CHECKPOINT' })
  await two.store.update(v.id, { held: { epoch: 2, incarnation: 'x' } })
  await t.throwsAsync(two.store.verify(v.id, calm), { code: 'VOLUME_IN_USE' })
  await two.store.update(v.id, { held: null })
  const path = two.store.mount(v.id)
  await path
  await t.throwsAsync(two.store.verify(v.id, calm), { code: 'VOLUME_IN_USE' })
  await two.store.unmount(v.id)
  const stopped = t.throwsAsync(two.store.verify(v.id, calm), { code: 'VOLUME_IN_USE', message: /was stopped/ })
  await two.store.capture(v.id, 'quiet', calm)
  await stopped
  const abort = new AbortController()
  const aborted = t.throwsAsync(two.store.verify(v.id, abort.signal), { message: 'enough' })
  abort.abort(new Error('enough'))
  await aborted
  t.is((await two.store.verify(v.id, calm)).damagedCount, 0)
})

test('promise 2: a tree that was changed at rest is damaged, although a look has seen the change before', async (t) => {
  const found = await pair(t, (data) => {
    writeFileSync(join(data, 'file'), 'one')
    writeFileSync(join(data, 'other'), 'other')
  })
  const { two, v, at } = found
  await damage(join(two.data(v.id), 'file'), 0)
  // What a Mount does before it refuses.
  const looked = await two.store.capture(v.id, 'quiet', calm)
  t.not(looked.hash, at.hash)
  const { damaged, damagedCount } = await two.store.verify(v.id, calm)
  t.is(damagedCount, 1)
  t.like(damaged[0], { path: '"file"', reason: 'content' })
  await repair(t, found)
})
