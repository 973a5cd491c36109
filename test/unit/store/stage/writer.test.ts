import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { planChanges } from '../../../../agent/store/manifest/plan.ts'
import type { BlockRequest } from '../../../../agent/store/tree-contract.ts'
import { answer, calm, temporaryDirectory } from '../fixture.ts'
import { allocated, BLOCK_BYTES, bench, MIB, pull } from './bench.ts'
import { TestTree } from './test-tree.ts'

test('small and large files are staged at their paths with their attributes, and not requested again', async (t) => {
  const b = await bench(t)
  mkdirSync(join(b.source, 'sub/deep'), { recursive: true })
  writeFileSync(join(b.source, 'sub/deep/small'), 'hello')
  chownSync(join(b.source, 'sub/deep/small'), 12, 34)
  chmodSync(join(b.source, 'sub/deep/small'), 0o4755)
  writeFileSync(join(b.source, 'empty'), '')
  const large = randomBytes(3 * MIB + 17)
  writeFileSync(join(b.source, 'sub/large'), large)
  chmodSync(join(b.source, 'sub/large'), 0o640)
  t.deepEqual(await pull(b), { bytes: 3 * MIB + 22, complete: true })
  const staged = join(b.stageDir, 'new')
  t.true(readFileSync(join(staged, 'sub/large')).equals(large))
  for (const path of ['sub/deep/small', 'sub/large', 'empty']) {
    const [is, wanted] = [statSync(join(staged, path)), statSync(join(b.source, path))]
    t.deepEqual([is.mode, is.uid, is.gid, is.mtimeMs], [wanted.mode, wanted.uid, wanted.gid, wanted.mtimeMs])
  }
  t.is(await b.missing(), 0)
  t.is(b.hashed.blocks + b.hashed.files, 0, 'what this process wrote is known to be good')
  t.deepEqual(await pull(b), { bytes: 0, complete: true })
  b.restart()
  t.deepEqual(await pull(b), { bytes: 0, complete: true })
  t.true(b.hashed.files === 2 && b.hashed.blocks === 193, 'after a restart it is hashed')
})

test('promise 4: after a cut or a restart a copy resumes block by block; damaged blocks are sent again', async (t) => {
  const b = await bench(t)
  writeFileSync(join(b.source, 'large'), randomBytes(40 * MIB))
  t.deepEqual(await pull(b, 2), { bytes: 16 * MIB, complete: false })
  t.deepEqual(await pull(b, 1), { bytes: 8 * MIB, complete: false })
  t.is(await b.missing(), 1)
  b.restart()
  const file = await open(join(b.stageDir, 'new/large'), 'r+')
  await file.write(Buffer.from('damage'), 0, 6, 5 * MIB)
  await file.close()
  t.deepEqual(await pull(b), { bytes: 16 * MIB + BLOCK_BYTES, complete: true })
  t.true(readFileSync(join(b.stageDir, 'new/large')).equals(readFileSync(join(b.source, 'large'))))
})

test('only changed blocks of a file that is here are staged, holes as holes, and apply knows which', async (t) => {
  const b = await bench(t)
  const content = randomBytes(4 * MIB)
  writeFileSync(join(b.data, 'db'), content)
  randomBytes(BLOCK_BYTES).copy(content, 7 * BLOCK_BYTES)
  randomBytes(2 * BLOCK_BYTES).copy(content, 20 * BLOCK_BYTES)
  content.fill(0, 30 * BLOCK_BYTES, 32 * BLOCK_BYTES)
  writeFileSync(join(b.source, 'db'), Buffer.concat([content, randomBytes(100)]))
  t.deepEqual(await pull(b), { bytes: 3 * BLOCK_BYTES + 100, complete: true })
  const staged = join(b.stageDir, 'blocks/db')
  t.is(statSync(staged).size, 4 * MIB + 100)
  t.true(allocated(staged) <= 4 * BLOCK_BYTES)
  t.false(existsSync(join(b.stageDir, 'new/db')))
  const target = await b.stage().target()
  const mine = new TestTree(b.data).snapshot()
  if (target === null) throw new Error('no target')
  const plan = planChanges(target, mine.manifest)
  const own = await b.stage().ownList(plan, 1, mine, calm)
  const changed = await b.stage().changedBlocks(1, own)
  t.deepEqual(
    changed.map(({ first, count }) => [first, count]),
    [
      [7, 1],
      [20, 2],
      [30, 2],
      [256, 1],
    ],
  )
  b.restart()
  t.is(await b.missing(), 0)
})

test('scattered blocks are written many at a time, and none that came is lost in a cut', async (t) => {
  const b = await bench(t)
  for (const name of ['a', 'b']) {
    const content = randomBytes(8 * MIB)
    writeFileSync(join(b.data, name), content)
    for (let block = 0; block < 512; block += 4) randomBytes(10).copy(content, block * BLOCK_BYTES)
    writeFileSync(join(b.source, name), content)
  }
  const reader = new TestTree(b.source)
  /** Asks for all blocks before the first is answered, as on a long line; answers so many. */
  const bring = async (asked: number, answered: number) => {
    await using writer = b.writer()
    await writer.begin(reader.manifest())
    const wants: BlockRequest[] = []
    while (wants.length < asked) {
      const want = await writer.next()
      if (want?.kind === 'blocks') wants.push(want)
      else if (want !== null) await answer(reader, writer, want)
    }
    for (const want of wants.slice(0, answered)) await answer(reader, writer, want)
    return answered === asked && (await writer.next()) === null && (await writer.finish())
  }
  t.false(await bring(256, 200))
  t.deepEqual(b.written, [64, 64, 64, 8])
  t.true(await bring(56, 56))
  t.deepEqual(b.written.slice(4), [56])
  t.is(await b.missing(), 0)
  for (const name of ['a', 'b']) {
    const [staged, source] = [join(b.stageDir, 'blocks', name), join(b.source, name)].map((path) => readFileSync(path))
    for (let at = 0; at < 8 * MIB; at += 4 * BLOCK_BYTES)
      if (
        staged?.subarray(at, at + BLOCK_BYTES).equals(source?.subarray(at, at + BLOCK_BYTES) ?? Buffer.alloc(0)) !==
        true
      )
        t.fail(`${name} at ${at}`)
  }
})

test('a file that crossed a block size is compared by the new one', async (t) => {
  const b = await bench(t)
  const GIB = 1024 ** 3
  const start = randomBytes(MIB)
  for (const [root, size] of [
    [b.data, GIB],
    [b.source, GIB + BLOCK_BYTES],
  ] as const) {
    writeFileSync(join(root, 'big'), start)
    truncateSync(join(root, 'big'), size)
  }
  const file = await open(join(b.source, 'big'), 'r+')
  await file.write(randomBytes(10), 0, 10, 3 * MIB)
  await file.close()
  t.deepEqual(await pull(b), { bytes: 2 * BLOCK_BYTES, complete: true })
  t.is(await b.missing(), 0)
})

test('a pre-seeded tree makes the rest small: equal files stay, changed ones need their changed blocks', async (t) => {
  const b = await bench(t)
  mkdirSync(join(b.source, 'd'))
  for (let n = 0; n < 10; n++) writeFileSync(join(b.source, 'd', `f${n}`), `content ${n}`)
  writeFileSync(join(b.source, 'large'), randomBytes(8 * MIB))
  writeFileSync(join(b.source, 'gone'), randomBytes(MIB))
  writeFileSync(join(b.source, 'turns'), 'file')
  t.true((await pull(b)).complete)
  rmSync(join(b.source, 'gone'))
  rmSync(join(b.source, 'turns'))
  mkdirSync(join(b.source, 'turns'))
  writeFileSync(join(b.source, 'd/f3'), 'changed')
  chmodSync(join(b.source, 'd/f4'), 0o600)
  const content = readFileSync(join(b.source, 'large'))
  content.fill(0, 5 * BLOCK_BYTES, 9 * BLOCK_BYTES)
  randomBytes(10).copy(content, 50 * BLOCK_BYTES)
  writeFileSync(join(b.source, 'large'), content.subarray(0, 7 * MIB))
  t.deepEqual(await pull(b), { bytes: BLOCK_BYTES + 7, complete: true })
  t.is(b.hashed.blocks + b.hashed.files, 0)
  const staged = join(b.stageDir, 'new')
  t.true(readFileSync(join(staged, 'large')).equals(readFileSync(join(b.source, 'large'))))
  t.true(allocated(join(staged, 'large')) <= 7 * MIB - 4 * BLOCK_BYTES, 'zeros became holes')
  t.is(statSync(join(staged, 'd/f4')).mode & 0o777, 0o600)
  t.deepEqual(readdirSync(staged).sort(), ['d', 'large'])
})

test('files that were renamed or copied are taken from this host, not from the network', async (t) => {
  const b = await bench(t)
  mkdirSync(join(b.data, 'old'))
  for (let n = 0; n < 5; n++) writeFileSync(join(b.data, 'old', `f${n}`), `content ${n}`)
  writeFileSync(join(b.data, 'log'), randomBytes(MIB))
  writeFileSync(join(b.data, 'log.1'), randomBytes(2 * MIB))
  cpSync(join(b.data, 'old'), join(b.source, 'new'), { recursive: true })
  cpSync(join(b.data, 'log'), join(b.source, 'log.1'))
  cpSync(join(b.data, 'log.1'), join(b.source, 'log.2'))
  t.deepEqual(await pull(b), { bytes: 0, complete: true })
  t.true(readFileSync(join(b.stageDir, 'new/log.2')).equals(readFileSync(join(b.source, 'log.2'))))
  t.true(readFileSync(join(b.stageDir, 'blocks/log.1')).equals(readFileSync(join(b.source, 'log.1'))))
})

test('a sparse file stays sparse, and one that is all hole needs nothing', async (t) => {
  const b = await bench(t)
  writeFileSync(join(b.source, 'hole'), '')
  truncateSync(join(b.source, 'hole'), 50 * MIB)
  writeFileSync(join(b.source, 'sparse'), '')
  truncateSync(join(b.source, 'sparse'), 30 * MIB)
  const file = await open(join(b.source, 'sparse'), 'r+')
  for (const offset of [3, 17]) await file.write(randomBytes(BLOCK_BYTES), 0, BLOCK_BYTES, offset * MIB)
  await file.close()
  t.deepEqual(await pull(b), { bytes: 2 * BLOCK_BYTES, complete: true })
  t.is(statSync(join(b.stageDir, 'new/hole')).size, 50 * MIB)
  t.is(allocated(join(b.stageDir, 'new/hole')), 0)
  t.true(allocated(join(b.stageDir, 'new/sparse')) <= 3 * BLOCK_BYTES)
})

test('content that is not what the manifest says is not staged, and asked for again', async (t) => {
  const b = await bench(t)
  writeFileSync(join(b.source, 'small'), 'right')
  writeFileSync(join(b.source, 'large'), randomBytes(5 * BLOCK_BYTES))
  const reader = new TestTree(b.source)
  writeFileSync(join(b.source, 'small'), 'wrong')
  const content = readFileSync(join(b.source, 'large'))
  content.fill(1, 0, BLOCK_BYTES)
  writeFileSync(join(b.source, 'large'), content)
  await using writer = b.writer()
  for (const asked of [5 * BLOCK_BYTES + 5, BLOCK_BYTES + 5]) {
    await writer.begin(reader.manifest())
    let bytes = 0
    for (let want = await writer.next(); want !== null; want = await writer.next()) {
      bytes += await answer(reader, writer, want)
    }
    t.is(bytes, asked)
    t.false(await writer.finish())
    t.deepEqual(writer.progress(), {
      bytesDone: 4 * BLOCK_BYTES,
      bytesTotal: 5 * BLOCK_BYTES + 5,
      filesDone: 0,
      filesTotal: 2,
    })
  }
  t.is(await b.missing(), 2)
})

test('answers that nobody asked for, or that do not fit, are refused', async (t) => {
  const b = await bench(t)
  writeFileSync(join(b.source, 'a'), 'small')
  writeFileSync(join(b.source, 'b'), randomBytes(40 * BLOCK_BYTES))
  const reader = new TestTree(b.source)
  await using writer = b.writer()
  const refused = { code: 'REQUEST_INVALID' }
  await t.throwsAsync(writer.next(), refused)
  await writer.begin(reader.manifest())
  const hashes = await writer.next()
  t.deepEqual(hashes, { kind: 'hashes', index: 2, bytes: 40 * 32 })
  await t.throwsAsync(writer.takeHashes(1, Buffer.alloc(32), true), refused)
  await t.throwsAsync(writer.takeFiles([1], Buffer.from('small'), []), refused)
  await t.throwsAsync(writer.takeHashes(2, Buffer.alloc(41 * 32), true), refused)
  await writer.takeHashes(2, Buffer.alloc(32), false)
  await t.throwsAsync(writer.takeHashes(2, Buffer.alloc(39 * 32), true), { code: 'HASH_MISMATCH' })
  if (hashes !== null) await answer(reader, writer, hashes)
  await writer.next()
  await t.throwsAsync(writer.takeFiles([1], Buffer.from('too long'), []), refused)
  await t.throwsAsync(writer.takeFiles([1], Buffer.from('small'), [1]), refused)
  await t.throwsAsync(writer.takeFiles([2], Buffer.from('small'), []), refused)
  const want = await writer.next()
  if (want?.kind !== 'blocks') throw new Error('blocks are wanted')
  const { run } = want
  t.deepEqual(run, { index: 2, first: 0, count: 40 })
  await writer.takePiece(run, { offset: 1000, data: Buffer.alloc(1000) })
  for (const [offset, bytes] of [
    [1999, 1],
    [40 * BLOCK_BYTES - 1, 2],
    [-1, 1],
    [2 ** 53, 1],
    [3000, 0],
  ] as const) {
    await t.throwsAsync(writer.takePiece(run, { offset, data: Buffer.alloc(bytes) }), refused)
  }
  await t.throwsAsync(writer.takePiece({ ...run, first: 1 }, { offset: 3000, data: Buffer.alloc(1) }), refused)
  await writer.endBlocks(run, false)
  await t.throwsAsync(writer.endBlocks(run, false), refused)
})

test('pieces of any length and place fill whole blocks', async (t) => {
  const b = await bench(t)
  const content = Buffer.alloc(7 * MIB)
  for (let at = 0; at < content.length; at += 80_000) randomBytes(30_000).copy(content, at)
  writeFileSync(join(b.source, 'f'), content)
  const reader = new TestTree(b.source)
  await using writer = b.writer()
  await writer.begin(reader.manifest())
  for (let want = await writer.next(); want !== null; want = await writer.next()) {
    if (want.kind !== 'blocks') await answer(reader, writer, want)
    else {
      for (let at = 0; at < content.length; at += 80_000) {
        const data = Buffer.from(content.subarray(at, at + 30_000))
        await writer.takePiece(want.run, { offset: at, data })
      }
      await writer.endBlocks(want.run, false)
    }
  }
  t.true(await writer.finish())
  t.true(readFileSync(join(b.stageDir, 'new/f')).equals(content))
})

test('next waits for lists that were asked for, and closing ends the wait', async (t) => {
  const b = await bench(t)
  writeFileSync(join(b.source, 'f'), randomBytes(MIB))
  const reader = new TestTree(b.source)
  const writer = b.writer()
  await writer.begin(reader.manifest())
  const list = await writer.next()
  const blocks = writer.next()
  if (list !== null) await answer(reader, writer, list)
  t.is((await blocks)?.kind, 'blocks')
  const end = writer.next()
  await Promise.all([t.throwsAsync(end, { code: 'REQUEST_INVALID' }), writer[Symbol.asyncDispose]()])
  await t.throwsAsync(writer.next(), { code: 'REQUEST_INVALID' })
})

test('a stage that was tampered with leads nowhere else', async (t) => {
  const b = await bench(t)
  const outside = await temporaryDirectory(t)
  writeFileSync(join(outside, 'f'), 'untouched')
  mkdirSync(join(b.source, 'd'))
  writeFileSync(join(b.source, 'd/f'), 'content')
  mkdirSync(join(b.stageDir, 'new'), { recursive: true })
  symlinkSync(outside, join(b.stageDir, 'new/d'))
  t.true((await pull(b)).complete)
  t.deepEqual(readdirSync(outside), ['f'])
  t.is(readFileSync(join(outside, 'f'), 'utf8'), 'untouched')
  t.is(readFileSync(join(b.stageDir, 'new/d/f'), 'utf8'), 'content')
  rmSync(join(b.stageDir, 'new/d'), { recursive: true })
  symlinkSync(outside, join(b.stageDir, 'new/d'))
  writeFileSync(join(b.source, 'd/f'), 'changed')
  t.true((await pull(b)).complete)
  t.is(execFileSync('cat', [join(outside, 'f')], { encoding: 'utf8' }), 'untouched')
})

test('dropping the stage forgets what was sent ahead; a manifest that cannot be read is none', async (t) => {
  const b = await bench(t)
  writeFileSync(join(b.source, 'f'), 'content')
  await pull(b)
  await b.stage().drop()
  await b.stage().drop()
  t.is(await b.stage().target(), null)
  t.false(existsSync(b.stageDir))
  t.deepEqual(await pull(b), { bytes: 7, complete: true })
  writeFileSync(join(b.stageDir, 'manifest'), 'rubbish')
  b.restart()
  t.is(await b.stage().target(), null)
})
