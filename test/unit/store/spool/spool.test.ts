import { randomBytes } from 'node:crypto'
import {
  appendFileSync,
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { describeTree, differences } from '../comparer.ts'
import { answer, calm, newVolume, send, storeHost } from '../fixture.ts'
import { frozen, Held } from './held.ts'

const BLOCK_BYTES = 64 * 1024

async function held(t: ExecutionContext): Promise<Held> {
  return await Held.begin(await storeHost(t), newVolume())
}

test('promise 5: a copy at the checkpoint before gets the next one exactly, though the tree has changed', async (t) => {
  const it = await held(t)
  const two = await storeHost(t)
  writeFileSync(join(it.data, 'large'), randomBytes(20 * BLOCK_BYTES))
  writeFileSync(join(it.data, 'small'), 'one')
  writeFileSync(join(it.data, 'stays'), randomBytes(5 * BLOCK_BYTES))
  await it.rounds(2)
  t.true((await it.copyTo(two, await it.take())).complete)
  t.deepEqual(differences(it.data, two.data(it.volume.id)), [])
  const large = randomBytes(20 * BLOCK_BYTES)
  writeFileSync(join(it.data, 'large'), large)
  writeFileSync(join(it.data, 'small'), 'two')
  renameSync(join(it.data, 'stays'), join(it.data, 'moved'))
  t.is(await it.rounds(1), 20 * BLOCK_BYTES + 4096 + 512)
  writeFileSync(join(it.data, 'late'), randomBytes(3 * BLOCK_BYTES))
  let then = ''
  const taken = await it.take('quiet', async () => {
    then = await frozen(t, it.data)
  })
  for (const name of ['large', 'small', 'late']) writeFileSync(join(it.data, name), randomBytes(20 * BLOCK_BYTES))
  rmSync(join(it.data, 'small'))
  t.true((await it.copyTo(two, taken)).complete)
  t.deepEqual(differences(then, two.data(it.volume.id)), [])
})

test('a release drops the spool, and its tree is the last one', async (t) => {
  const it = await held(t)
  const two = await storeHost(t)
  writeFileSync(join(it.data, 'file'), 'one')
  await it.copyTo(two, await it.take())
  writeFileSync(join(it.data, 'file'), 'two')
  const { hash } = await it.host.store.capture(it.volume.id, 'quiet', new AbortController().signal)
  t.false(existsSync(join(it.host.stateDir, 'volumes', it.volume.id, 'spool')))
  await using reader = await it.host.store.reader({ id: it.volume.id, kind: 'last' })
  t.is(reader.hash, hash)
  await t.throwsAsync(it.host.store.reader({ id: it.volume.id, kind: 'spool' }), { code: 'NOT_AT_CHECKPOINT' })
})

test('what changes once the last look is over is not in the checkpoint', async (t) => {
  let change = () => {}
  const it = await Held.begin(
    await storeHost(t, undefined, (step) => step === 'spool-scanned' && change()),
    newVolume(),
  )
  const two = await storeHost(t)
  for (const work of [
    () => writeAt(join(it.data, 'small'), 3),
    () => writeAt(join(it.data, 'large'), BLOCK_BYTES),
    () => rmSync(join(it.data, 'gone')),
  ]) {
    for (const name of ['large', 'small', 'gone'])
      writeFileSync(join(it.data, name), randomBytes(name === 'large' ? 3 * BLOCK_BYTES : 9))
    const then = await frozen(t, it.data)
    change = work
    const taken = await it.take()
    change = () => {}
    t.true((await it.copyTo(two, taken)).complete)
    t.deepEqual(differences(then, two.data(it.volume.id)), [])
  }
})

test('without a pause, what changes between scan and copy is in the checkpoint as it was copied', async (t) => {
  let change = () => {}
  const it = await Held.begin(
    await storeHost(t, undefined, (step) => step === 'spool-scanned' && change()),
    newVolume(),
  )
  const two = await storeHost(t)
  for (const name of ['large', 'small', 'grown', 'gone', 'stays'])
    writeFileSync(join(it.data, name), randomBytes(3 * BLOCK_BYTES))
  await it.copyTo(two, await it.take())
  for (const name of ['small', 'grown', 'gone']) writeFileSync(join(it.data, name), name)
  for (const at of [0, BLOCK_BYTES]) writeAt(join(it.data, 'large'), at)
  writeAt(join(it.data, 'stays'), 7)
  change = () => {
    change = () => {}
    writeAt(join(it.data, 'large'), BLOCK_BYTES + 5)
    writeFileSync(join(it.data, 'small'), 'SMALL')
    appendFileSync(join(it.data, 'grown'), 'more')
    rmSync(join(it.data, 'gone'))
    writeFileSync(join(it.data, 'new'), 'new')
  }
  const taken = await it.take('live')
  const before = describeTree(it.data)
  for (const name of ['large', 'small', 'grown', 'stays']) writeFileSync(join(it.data, name), 'moved on')
  t.true((await it.copyTo(two, taken)).complete)
  t.is((await two.store.verify(it.volume.id, calm)).damagedCount, 0)
  t.deepEqual(readdirSync(two.data(it.volume.id)), ['grown', 'large', 'small', 'stays'])
  const contents = (lines: string[], name: string) =>
    lines.find((line) => line.startsWith(`"${name}"`))?.match(/"sha256":"(\w+)"/)?.[1]
  const copied = describeTree(two.data(it.volume.id))
  for (const name of ['large', 'small', 'stays']) t.is(contents(copied, name), contents(before, name), name)
})

test('without a pause, a content that two files share is in the spool when one of them changes', async (t) => {
  let change = () => {}
  const it = await Held.begin(
    await storeHost(t, undefined, (step) => step === 'spool-scanned' && change()),
    newVolume(),
  )
  const two = await storeHost(t)
  await it.copyTo(two, await it.take())
  for (const name of ['a', 'b', 'c']) writeFileSync(join(it.data, name), 'the same')
  for (const name of ['x', 'y', 'z']) writeFileSync(join(it.data, name), Buffer.alloc(4 * BLOCK_BYTES, 'the same'))
  change = () => {
    change = () => {}
    writeFileSync(join(it.data, 'a'), 'another')
    rmSync(join(it.data, 'x'))
  }
  const taken = await it.take('live')
  for (const name of ['a', 'b', 'c', 'x', 'y', 'z']) writeFileSync(join(it.data, name), 'moved on')
  t.true((await it.copyTo(two, taken)).complete)
  t.deepEqual(readdirSync(two.data(it.volume.id)), ['a', 'b', 'c', 'y', 'z'])
  t.is((await two.store.verify(it.volume.id, calm)).damagedCount, 0)
})

test('a reader goes on with its checkpoint while the next ones take its place', async (t) => {
  const it = await held(t)
  const two = await storeHost(t)
  await it.copyTo(two, await it.take())
  for (const name of ['large', 'other']) writeFileSync(join(it.data, name), randomBytes(20 * BLOCK_BYTES))
  writeFileSync(join(it.data, 'small'), 'small')
  const taken = await it.take()
  const then = describeTree(it.data)
  await using reader = await it.host.store.reader({ id: it.volume.id, kind: 'spool' })
  await using writer = await two.store.writer(it.volume)
  await writer.begin(reader.manifest())
  for (let want = await writer.next(); want !== null; want = await writer.next()) {
    for (const name of ['large', 'other', 'small']) writeFileSync(join(it.data, name), randomBytes(20 * BLOCK_BYTES))
    await it.take()
    await answer(reader, writer, want)
  }
  t.true(await writer.finish())
  await writer[Symbol.asyncDispose]()
  await two.store.apply(it.volume.id, taken)
  t.deepEqual(describeTree(two.data(it.volume.id)), then)
})

test('a spool is read by the agent that comes after; one that is damaged counts as lacking', async (t) => {
  const it = await held(t)
  const [two, three] = [await storeHost(t), await storeHost(t)]
  writeFileSync(join(it.data, 'large'), randomBytes(20 * BLOCK_BYTES))
  const taken = await it.take()
  const then = describeTree(it.data)
  writeFileSync(join(it.data, 'large'), randomBytes(20 * BLOCK_BYTES))
  await it.host.store[Symbol.asyncDispose]()
  const again = await storeHost(t, it.host.stateDir)
  await again.store.recover()
  t.true((await send(again.store, two.store, it.volume, 'spool')).complete)
  await two.store.apply(it.volume.id, taken)
  t.deepEqual(describeTree(two.data(it.volume.id)), then)
  await again.store[Symbol.asyncDispose]()
  writeAt(join(it.host.stateDir, 'volumes', it.volume.id, 'spool', taken.hash, 'index'), 60)
  const third = new Held(await storeHost(t, it.host.stateDir), it.volume)
  t.false((await send(third.host.store, three.store, it.volume, 'spool')).complete)
  third.seq = it.seq
  t.true((await third.copyTo(three, await third.take())).complete)
  t.deepEqual(differences(third.data, three.data(it.volume.id)), [])
})

test('only what was captured last is committed, and a commit may be repeated', async (t) => {
  const it = await held(t)
  const { store } = it.host
  writeFileSync(join(it.data, 'file'), 'one')
  const one = await it.take()
  await store.spoolCommit(it.volume.id, one)
  writeFileSync(join(it.data, 'file'), 'two')
  await store.spoolFreeze(it.volume.id, 'quiet', calm)
  await store.spoolLast(it.volume.id, calm)
  await t.throwsAsync(store.spoolCommit(it.volume.id, { ...one, seq: 2, hash: '0'.repeat(64) }), {
    code: 'HASH_MISMATCH',
  })
  await it.rounds(1)
  await store.spoolFreeze(it.volume.id, 'quiet', calm)
  const { hash } = await store.spoolLast(it.volume.id, calm)
  const two = { ...one, seq: 2, hash }
  await store.spoolCommit(it.volume.id, two)
  await store.spoolCommit(it.volume.id, two)
  t.like(await store.copy(it.volume.id), { checkpoint: two, epochSeen: 1 })
  t.false((await store.spoolRound(it.volume.id, calm)).changed)
  await store.spoolFreeze(it.volume.id, 'quiet', calm)
  t.is((await store.spoolLast(it.volume.id, calm)).hash, hash)
  await t.throwsAsync(store.spoolLast(it.volume.id, calm), { code: 'HASH_MISMATCH' })
  await store.update(it.volume.id, { held: null })
  for (const call of [store.spoolRound(it.volume.id, calm), store.spoolCommit(it.volume.id, two)]) {
    await t.throwsAsync(call, { code: 'STALE_EPOCH' })
  }
})

test('rounds that are cut off, and an apply or a removal afterwards, leave nothing', async (t) => {
  const it = await held(t)
  writeFileSync(join(it.data, 'file'), randomBytes(20 * BLOCK_BYTES))
  await t.throwsAsync(it.host.store.spoolRound(it.volume.id, AbortSignal.abort(new Error('stop'))), { message: 'stop' })
  const stop = new AbortController()
  const stopped = it.host.store.spoolRound(it.volume.id, stop.signal)
  setImmediate(() => stop.abort(new Error('stop')))
  await stopped.catch((error) => t.is((error as Error).message, 'stop'))
  const two = await storeHost(t)
  t.true((await it.copyTo(two, await it.take())).complete)
  t.deepEqual(differences(it.data, two.data(it.volume.id)), [])
  await it.rounds(1)
  await it.host.store.trash(it.volume.id)
  t.is(await it.host.store.copy(it.volume.id), null)
})

function writeAt(path: string, offset: number): void {
  const fd = openSync(path, 'r+')
  writeSync(fd, randomBytes(100), 0, 100, offset)
  closeSync(fd)
}

test('live captures between the rounds neither spoil the checkpoint nor are they cut short by it', async (t) => {
  const it = await held(t)
  const [two, three] = [await storeHost(t), await storeHost(t)]
  for (const name of ['a', 'b']) writeFileSync(join(it.data, name), randomBytes(20 * BLOCK_BYTES))
  await it.copyTo(two, await it.take())
  writeAt(join(it.data, 'a'), 5 * BLOCK_BYTES)
  await it.rounds(1)
  await it.host.store.capture(it.volume.id, 'live', calm)
  await using reader = await it.host.store.reader({ id: it.volume.id, kind: 'live' })
  await using writer = await three.store.writer(it.volume)
  await writer.begin(reader.manifest())
  writeAt(join(it.data, 'b'), 5 * BLOCK_BYTES)
  const taken = await it.take()
  const then = describeTree(it.data)
  for (const name of ['a', 'b']) writeAt(join(it.data, name), 5 * BLOCK_BYTES)
  await it.host.store.capture(it.volume.id, 'live', calm)
  t.true((await it.copyTo(two, taken)).complete)
  t.deepEqual(describeTree(two.data(it.volume.id)), then)
  let lists = 0
  for (let want = await writer.next(); want !== null && lists < 2; want = await writer.next()) {
    if (want.kind === 'hashes') lists++
    await answer(reader, writer, want).catch((error) => t.is(error.code, 'TREE_CHANGED'))
  }
  t.is(lists, 2)
})

test('small files come from the spool and from the live tree in the order they are asked for', async (t) => {
  const it = await held(t)
  const [two, three] = [await storeHost(t), await storeHost(t)]
  const names = Array.from({ length: 60 }, (_, nth) => `file-${nth}`)
  for (const name of names) writeFileSync(join(it.data, name), `${name} one`)
  await it.copyTo(two, await it.take())
  for (const name of names.filter((_, nth) => nth % 3 === 0)) writeFileSync(join(it.data, name), `${name} two`)
  const taken = await it.take()
  const then = describeTree(it.data)
  for (const name of names.filter((_, nth) => nth % 3 === 0)) writeFileSync(join(it.data, name), 'moved on')
  for (const to of [two, three]) {
    t.true((await it.copyTo(to, taken)).complete)
    t.deepEqual(describeTree(to.data(it.volume.id)), then)
  }
  await using reader = await it.host.store.reader({ id: it.volume.id, kind: 'spool' })
  for (const indexes of [[0], [-1], [1e9], [1.5], Array.from({ length: 513 }, () => 1)]) {
    await t.throwsAsync(reader.files(indexes), { code: 'REQUEST_INVALID' }, String(indexes))
  }
  await t.throwsAsync(reader.blocks({ index: 1, first: 0, count: 1 })[Symbol.asyncIterator]().next(), {
    code: 'REQUEST_INVALID',
  })
})
