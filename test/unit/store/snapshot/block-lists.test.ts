import { randomBytes } from 'node:crypto'
import {
  closeSync,
  linkSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { BlockListWriter } from '../../../../agent/store/snapshot/block-list-writer.ts'
import { loadLast, scannedListsPath } from '../../../../agent/store/snapshot/saved-snapshot.ts'
import { type CapturedDirectory, captured } from '../scan/captured.ts'
import { TICKS_MS } from '../scan/contents.ts'

const MIB = 1024 * 1024
const FILES = 40
/** Hash and tag of each block of 16 KiB. */
const LIST_BYTES = 64 * 48
const STALE_MAX_BYTES = MIB

/** A kept tree of files of a MiB. */
async function kept(t: ExecutionContext): Promise<CapturedDirectory> {
  const tree = await captured(t)
  for (let nth = 0; nth < FILES; nth++) writeFileSync(join(tree.data, `file${nth}`), randomBytes(MIB))
  await sleep(TICKS_MS)
  await tree.capture('quiet')
  return tree
}

function overwrite(path: string, at: number): void {
  const fd = openSync(path, 'r+')
  writeSync(fd, randomBytes(10), 0, 10, at)
  closeSync(fd)
}

const lists = (tree: CapturedDirectory) => join(tree.directory, 'last.lists')

/** Each list of what is kept is there and right, and a look that knows nothing finds the same tree. */
async function checkLists(t: ExecutionContext, tree: CapturedDirectory): Promise<void> {
  const last = await loadLast(tree.directory)
  if (last === null) return t.fail('nothing is kept')
  for (let index = 0; index < last.manifest.count; index++)
    if (last.manifest.isLarge(index)) t.not(await last.lists.list(index), null, last.manifest.path(index))
  t.is((await tree.look(true, null)).manifest.hash, last.manifest.hash)
}

test('lists of unchanged files stay where they are: a scan writes those of files that changed', async (t) => {
  const tree = await kept(t)
  const { size, ino } = statSync(lists(tree))
  t.is(size, FILES * LIST_BYTES)
  for (let nth = 1; nth <= 5; nth++) {
    overwrite(join(tree.data, 'file7'), nth * 100_000)
    await sleep(TICKS_MS)
    await tree.capture(nth % 2 === 0 ? 'live' : 'quiet')
    if (nth % 2 === 0) await tree.capture('quiet')
    const now = statSync(lists(tree))
    t.deepEqual({ size: now.size, ino: now.ino }, { size: size + nth * LIST_BYTES, ino })
    await checkLists(t, tree)
  }
  writeFileSync(join(tree.data, 'a-new-one'), randomBytes(MIB))
  rmSync(join(tree.data, 'file3'))
  renameSync(join(tree.data, 'file9'), join(tree.data, 'z-renamed'))
  await sleep(TICKS_MS)
  await tree.capture('quiet')
  t.is(statSync(lists(tree)).ino, ino)
  await checkLists(t, tree)
})

test('a file that has more of earlier trees than of this one is written anew', async (t) => {
  const tree = await kept(t)
  const { ino } = statSync(lists(tree))
  let most = 0
  for (let looks = 0; statSync(lists(tree)).ino === ino; looks++) {
    if (looks > 100) return t.fail('it only grows')
    for (let nth = 0; nth < FILES; nth++) overwrite(join(tree.data, `file${nth}`), looks * 1000)
    await sleep(TICKS_MS)
    await tree.capture('quiet')
    most = Math.max(most, statSync(lists(tree)).size)
  }
  t.true(most <= 3 * FILES * LIST_BYTES + STALE_MAX_BYTES, `${most} bytes`)
  t.is(statSync(lists(tree)).size, FILES * LIST_BYTES)
  await checkLists(t, tree)
})

test('a name that a look which was cut off left of the file is not written to', async (t) => {
  const tree = await kept(t)
  linkSync(lists(tree), scannedListsPath(tree.directory))
  const before = readFileSync(lists(tree))
  await tree.look(true, null)
  t.true(readFileSync(lists(tree)).equals(before))
  rmSync(scannedListsPath(tree.directory), { force: true })
  linkSync(lists(tree), scannedListsPath(tree.directory))
  overwrite(join(tree.data, 'file1'), 5)
  await sleep(TICKS_MS)
  await tree.capture('quiet')
  t.true(readFileSync(lists(tree)).subarray(0, before.length).equals(before))
  await checkLists(t, tree)
})

test('places that are gone, cut or of another tree cost time and nothing else', async (t) => {
  const tree = await kept(t)
  const places = join(tree.directory, 'last.places')
  const other = randomBytes(8 * FILES)
  for (const damage of [
    () => rmSync(places),
    () => writeFileSync(places, readFileSync(places).subarray(0, 13)),
    () => writeFileSync(places, other),
    () => writeFileSync(places, Buffer.alloc(8 * FILES, 0xff)),
  ]) {
    overwrite(join(tree.data, 'file2'), 5)
    await sleep(TICKS_MS)
    await tree.capture('quiet')
    damage()
    overwrite(join(tree.data, 'file4'), 77)
    await sleep(TICKS_MS)
    const { manifest } = await tree.capture('quiet')
    t.is((await tree.look(true, null)).manifest.hash, manifest.hash)
    await checkLists(t, tree)
  }
})

test('two looks that go on from the same tree do not write to the same place', async (t) => {
  const tree = await kept(t)
  const other = await captured(t)
  const last = await loadLast(tree.directory)
  overwrite(join(tree.data, 'file5'), 5)
  await sleep(TICKS_MS)
  const looks = await Promise.all(
    [tree.directory, other.directory].map(async (directory, nth) => {
      const scan = await tree.look(true, { live: null, last }, { lists: join(directory, `lists${nth}`) })
      return { scan, bytes: statSync(scan.lists.path).size }
    }),
  )
  t.is(looks.filter(({ bytes }) => bytes === (FILES + 1) * LIST_BYTES).length, 1)
  t.is(looks.filter(({ bytes }) => bytes === FILES * LIST_BYTES).length, 1)
  for (const { scan } of looks)
    for (let index = 0; index < scan.manifest.count; index++)
      if (scan.manifest.isLarge(index)) t.not(await scan.lists.as({}).list(index), null)
})

test('a writer that is closed once more when it has ended leaves the file to the one that grows it then', async (t) => {
  const tree = await kept(t)
  const last = await loadLast(tree.directory)
  if (last === null) return t.fail('nothing is kept')
  const begin = (nth: number) => {
    const writer = new BlockListWriter(join(tree.directory, `lists${nth}`))
    writer.grow(last.lists)
    return writer
  }
  const [first, all] = [begin(1), statSync(lists(tree)).size]
  first[Symbol.dispose]()
  const second = begin(2)
  first[Symbol.dispose]()
  const third = begin(3)
  t.is(second.reserve(1, LIST_BYTES), all)
  t.is(third.reserve(1, LIST_BYTES), 0, 'a file of its own')
  for (const writer of [second, third]) writer[Symbol.dispose]()
})
