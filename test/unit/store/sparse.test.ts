import { execFileSync } from 'node:child_process'
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { dropCached } from '../../../agent/sys/files.ts'
import { differences } from './comparer.ts'
import { FILE_SYSTEMS, fileSystem } from './file-systems.ts'
import { answer, calm, captureCheckpoint, newVolume, send, storeHost, temporaryDirectory } from './fixture.ts'
import { captured } from './scan/captured.ts'
import { Held } from './spool/held.ts'
import { buildObject } from './tracker/fixture.ts'

const CACHED_PAGES = new URL('../../fixtures/cached-pages.py', import.meta.url).pathname
const PAGE = 4096
const MIB = 1024 * 1024
const FILE_BYTES = 1024 * MIB
const PAGES = 60
const PREALLOCATED = { offset: 200 * MIB, length: 100 * MIB }
/** What the kernel reads ahead by itself around each page; the file seems to have 262,144. */
const CACHED_MAX = PAGES * 32

function page(letter: string): Buffer {
  return Buffer.alloc(PAGE, letter)
}

/** Forgets what the page cache has of a file. */
function forget(path: string): void {
  const fd = openSync(path, 'r')
  fsyncSync(fd)
  dropCached(fd)
  closeSync(fd)
}

function cachedPages(path: string): number {
  return Number(execFileSync('python3', [CACHED_PAGES, path], { encoding: 'utf8' }))
}

/** A gigabyte with a page of data here and there, and a part of it allocated and never written to but for one page. */
function writeSparse(path: string): void {
  const fd = openSync(path, 'w')
  for (let nth = 0; nth < PAGES; nth++) writeSync(fd, page('a'), 0, PAGE, nth * 17 * MIB)
  writeSync(fd, page('z'), 0, PAGE, FILE_BYTES - PAGE)
  fsyncSync(fd)
  closeSync(fd)
  const { offset, length } = PREALLOCATED
  execFileSync('fallocate', ['--offset', String(offset), '--length', String(length), path])
  overwrite(path, offset + length / 2, 'b')
  forget(path)
}

function overwrite(path: string, at: number, letter: string): void {
  const fd = openSync(path, 'r+')
  writeSync(fd, page(letter), 0, PAGE, at)
  fsyncSync(fd)
  closeSync(fd)
}

for (const kind of FILE_SYSTEMS) {
  test(`${kind}: whoever reads a sparse file leaves its holes out of the page cache`, async (t) => {
    const root = fileSystem(t, kind)
    const one = await storeHost(t, join(root, 'one'), undefined, { trackerObject: buildObject() })
    const two = await storeHost(t, join(root, 'two'))
    const held = await Held.begin(one, newVolume())
    const [file, copy] = [join(held.data, 'file'), join(two.data(held.volume.id), 'file')]
    const { id } = held.volume
    const check = (path: string, what: string) => {
      const pages = cachedPages(path)
      t.true(pages <= CACHED_MAX, `${pages} pages are cached after ${what}`)
      forget(path)
    }
    writeSparse(file)
    await held.rounds(1)
    check(file, 'the first round')
    overwrite(file, 5 * MIB, 'c')
    forget(file)
    await held.rounds(1)
    check(file, 'a round that knows what was written to')
    const first = await held.take()
    check(file, 'the checkpoint')
    t.true((await held.copyTo(two, first)).complete)
    check(file, 'it was sent')
    check(copy, 'it was applied')
    t.deepEqual(differences(held.data, two.data(id), { extents: 'bounded' }), [])

    overwrite(file, 700 * MIB, 'd')
    forget(file)
    const second = await one.store.capture(id, 'quiet', calm)
    check(file, 'a capture')
    t.true((await send(one.store, two.store, held.volume)).complete)
    await two.store.apply(id, captureCheckpoint(second, 2))
    check(copy, 'a change was applied')
    t.is((await two.store.verify(id, calm)).damagedCount, 0)
    check(copy, 'it was verified')
    t.deepEqual(differences(held.data, two.data(id), { extents: 'bounded' }), [])
  })

  test(`${kind}: of a file with all its space allocated what was never written to is not read`, async (t) => {
    const tree = await captured(t, join(fileSystem(t, kind), 'copy'))
    const path = join(tree.data, 'file')
    execFileSync('fallocate', ['--length', String(500 * MIB), path])
    overwrite(path, 300 * MIB, 'a')
    forget(path)
    await tree.look(true, null, { marked: true })
    t.true(cachedPages(path) <= 256, `${cachedPages(path)} pages are cached`)
  })
}

test('a file of a terabyte that is nearly all hole costs what it holds: no work for its holes', async (t) => {
  const tree = await captured(t)
  const path = join(tree.data, 'file')
  const size = 1.25e12
  const fd = openSync(path, 'w')
  writeSync(fd, page('a'), 0, PAGE, 0)
  writeSync(fd, page('b'), 0, PAGE, size - PAGE)
  closeSync(fd)
  let calls = 0
  const pool = tree.poolWith({
    rehashBlocks: (...task) => {
      calls++
      return tree.pool.rehashBlocks(...task)
    },
  })
  const { manifest, lists } = await tree.capture('quiet', { pool })
  t.is(calls, 2)
  const again = await tree.look(true, null)
  t.is(again.manifest.hash, manifest.hash)
  t.true((await again.lists.list(1))?.equals((await lists.list(1)) ?? Buffer.alloc(0)))

  const receiver = await storeHost(t, await temporaryDirectory(t))
  const v = newVolume()
  await using reader = await tree.reader()
  await using writer = await receiver.store.writer(v)
  await writer.begin(reader.manifest())
  let wants = 0
  for (let want = await writer.next(); want !== null; want = await writer.next()) {
    wants++
    await answer(reader, writer, want)
  }
  t.true(await writer.finish())
  t.true(wants < 30, `${wants} requests`)
})
