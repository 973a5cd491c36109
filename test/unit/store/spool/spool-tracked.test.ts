import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  fsyncSync,
  futimesSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { dropCached } from '../../../../agent/sys/files.ts'
import { differences } from '../comparer.ts'
import { fileSystem } from '../file-systems.ts'
import { calm, newVolume, type StoreHost, storeHost } from '../fixture.ts'
import { buildObject } from '../tracker/fixture.ts'
import { Held } from './held.ts'

const BLOCK_BYTES = 16 * 1024
const FILE_BLOCKS = 256
/** More than are read side by side. */
const MANY_FILES = 10
/** Of the clock that ctimes are from, at most. */
const TICK_MS = 10
const STALLED_WRITE = new URL('../../../fixtures/stalled-write.py', import.meta.url).pathname

/** A held volume with a large file of which the tracker knows, and a copy of it. */
async function tracked(t: ExecutionContext) {
  const root = fileSystem(t, 'ext4')
  const one = await storeHost(t, join(root, 'one'), undefined, { trackerObject: buildObject() })
  const two = await storeHost(t, join(root, 'two'))
  const it = await Held.begin(one, newVolume())
  writeFileSync(join(it.data, 'file'), randomBytes(FILE_BLOCKS * BLOCK_BYTES))
  await next(it, two)
  await next(it, two)
  return { it, two, file: join(it.data, 'file') }
}

/** A checkpoint, brought to the copy; how much its first round read. */
async function next(it: Held, two: StoreHost) {
  const { bytesRead, scanned } = await it.host.store.spoolRound(it.volume.id, calm)
  const { complete } = await it.copyTo(two, await it.take())
  return { bytesRead, scanned, complete }
}

/**
 * The page cache is empty before: what is written in large pieces lies there in large pieces, and is dirtied by
 * them.
 */
function overwrite(file: string, bytes: number, at: number): void {
  const fd = openSync(file, 'r+')
  dropCached(fd)
  writeSync(fd, randomBytes(bytes), 0, bytes, at)
  closeSync(fd)
}

test('of a large file that changed only what was written to is read', async (t) => {
  const { it, two, file } = await tracked(t)
  overwrite(file, 10, 5 * BLOCK_BYTES)
  overwrite(file, 10, 100 * BLOCK_BYTES - 5)
  t.deepEqual(await next(it, two), { bytesRead: 3 * BLOCK_BYTES, scanned: null, complete: true })
  t.deepEqual(differences(it.data, two.data(it.volume.id)), [])
  writeFileSync(file, randomBytes(1000), { flag: 'a' })
  const { bytesRead } = await next(it, two)
  t.true(bytesRead <= 4 * BLOCK_BYTES, `${bytesRead} bytes read of a file that grew`)
  t.deepEqual(differences(it.data, two.data(it.volume.id)), [])
})

test('small files that a round has read and its sync written out are not read again in the pause', async (t) => {
  const { it } = await tracked(t)
  for (let nth = 0; nth < 100; nth++) writeFileSync(join(it.data, `small${nth}`), `${nth}`)
  await sleep(2 * TICK_MS)
  await it.rounds(1)
  writeFileSync(join(it.data, 'small7'), 'again')
  await it.host.store.spoolFreeze(it.volume.id, 'quiet', calm)
  t.is((await it.host.store.spoolLast(it.volume.id, calm)).filesRead, 1)
})

test('a freeze scans no directory in which nothing changed since the round', async (t) => {
  const root = fileSystem(t, 'ext4')
  const one = await storeHost(t, join(root, 'one'), undefined, { trackerObject: buildObject() })
  const it = await Held.begin(one, newVolume())
  const directories = Array.from({ length: 10 }, (_, nth) => join(it.data, `directory${nth}`))
  for (const directory of directories) {
    mkdirSync(directory)
    writeFileSync(join(directory, 'file'), directory)
  }
  await sleep(2 * TICK_MS)
  await it.rounds(1)
  await it.take()
  await sleep(2 * TICK_MS)
  await it.rounds(1)
  const changed = directories.at(-1) ?? ''
  writeFileSync(join(changed, 'file'), 'again')
  const readAt = () => directories.map((directory) => statSync(directory, { bigint: true }).atimeNs)
  // From here on each reading of a directory shows; before, it would count as a change.
  execFileSync('mount', ['-o', 'remount,strictatime', root])
  const before = readAt()
  await sleep(2 * TICK_MS)
  await it.host.store.spoolFreeze(it.volume.id, 'quiet', calm)
  t.deepEqual(readAt().slice(0, -1), before.slice(0, -1))
  t.is((await it.host.store.spoolLast(it.volume.id, calm)).filesRead, 1)
})

test('of many files too only what was written to is read, very many blocks of it', async (t) => {
  const { it, two } = await tracked(t)
  const files = Array.from({ length: MANY_FILES }, (_, nth) => join(it.data, `many${nth}`))
  for (const file of files) writeFileSync(file, randomBytes(FILE_BLOCKS * BLOCK_BYTES))
  await next(it, two)
  await next(it, two)
  for (const file of files)
    for (let block = 0; block < FILE_BLOCKS; block += 2) overwrite(file, 10, block * BLOCK_BYTES)
  const changed = (MANY_FILES * FILE_BLOCKS) / 2
  t.deepEqual(await next(it, two), { bytesRead: changed * BLOCK_BYTES, scanned: null, complete: true })
  t.deepEqual(differences(it.data, two.data(it.volume.id)), [])
})

test('a file read from disk is cached page by page: a write dirties no more than it wrote', async (t) => {
  const root = fileSystem(t, 'ext4')
  const one = await storeHost(t, join(root, 'one'), undefined, { trackerObject: buildObject() })
  const two = await storeHost(t, join(root, 'two'))
  const it = await Held.begin(one, newVolume())
  const file = join(it.data, 'file')
  writeFileSync(file, randomBytes(FILE_BLOCKS * BLOCK_BYTES))
  for (let nth = 0; nth < 2; nth++) {
    const fd = openSync(file, 'r+')
    fsyncSync(fd)
    dropCached(fd)
    futimesSync(fd, nth, nth)
    closeSync(fd)
    t.is((await next(it, two)).bytesRead, FILE_BLOCKS * BLOCK_BYTES)
  }
  const fd = openSync(file, 'r+')
  writeSync(fd, randomBytes(10), 0, 10, 100 * BLOCK_BYTES)
  closeSync(fd)
  t.is((await next(it, two)).bytesRead, BLOCK_BYTES)
})

test('what was cut off, replaced or renamed is read whole, and right', async (t) => {
  const { it, two, file } = await tracked(t)
  truncateSync(file, 100 * BLOCK_BYTES)
  truncateSync(file, FILE_BLOCKS * BLOCK_BYTES)
  await next(it, two)
  t.deepEqual(differences(it.data, two.data(it.volume.id)), [])
  writeFileSync(`${file}.new`, randomBytes(FILE_BLOCKS * BLOCK_BYTES))
  renameSync(`${file}.new`, file)
  t.is((await next(it, two)).bytesRead, FILE_BLOCKS * BLOCK_BYTES)
  t.deepEqual(differences(it.data, two.data(it.volume.id)), [])
})

test('a release reads only what was written to since the last checkpoint', async (t) => {
  const { it, two, file } = await tracked(t)
  overwrite(file, 10, 5 * BLOCK_BYTES)
  const { bytesRead } = await it.host.store.capture(it.volume.id, 'quiet', calm)
  t.is(bytesRead, BLOCK_BYTES)
  t.truthy(two)
})

test('what is written to a volume is known from its first moment on, when its tree was looked at before', async (t) => {
  const { it, two, file } = await tracked(t)
  await it.host.store.capture(it.volume.id, 'quiet', calm)
  await it.host.store.update(it.volume.id, { held: null })
  // The next hold begins with a look at the tree.
  await it.host.store.capture(it.volume.id, 'quiet', calm)
  await it.host.store.update(it.volume.id, { held: { epoch: 2, incarnation: 'next' } })
  overwrite(file, 10, 7 * BLOCK_BYTES)
  t.deepEqual(await next(it, two), { bytesRead: BLOCK_BYTES, scanned: null, complete: true })
  t.deepEqual(differences(it.data, two.data(it.volume.id)), [])
})

test('what was written before anybody watched is found, by reading', async (t) => {
  const { it, two, file } = await tracked(t)
  await it.host.store.capture(it.volume.id, 'quiet', calm)
  await it.host.store[Symbol.asyncDispose]()
  overwrite(file, 10, 7 * BLOCK_BYTES)
  const again = await storeHost(t, it.host.stateDir, undefined, { trackerObject: buildObject() })
  const later = new Held(again, it.volume)
  later.seq = it.seq
  t.is((await next(later, two)).bytesRead, FILE_BLOCKS * BLOCK_BYTES)
  t.deepEqual(differences(later.data, two.data(it.volume.id)), [])
})

test('without a tracker, and in the first round with one, it is said why changed files are read whole', async (t) => {
  const plain = await Held.begin(await storeHost(t), newVolume())
  t.regex((await plain.host.store.spoolRound(plain.volume.id, calm)).scanned ?? '', /no tracker/)
  const onMemory = await storeHost(t, undefined, undefined, { trackerObject: '/nowhere' })
  const other = await Held.begin(onMemory, newVolume())
  t.regex((await other.host.store.spoolRound(other.volume.id, calm)).scanned ?? '', /not built|file system/)
  const root = fileSystem(t, 'ext4')
  const first = await Held.begin(await storeHost(t, root, undefined, { trackerObject: buildObject() }), newVolume())
  t.regex((await first.host.store.spoolRound(first.volume.id, calm)).scanned ?? '', /not watched this volume/)
})

for (const when of ['before the last round', 'after the checkpoint'] as const) {
  test(`promise 5: a write paused between its ctime and its bytes, that comes ${when}, is not missed`, async (t) => {
    const root = fileSystem(t, 'ext4')
    const one = await storeHost(t, join(root, 'one'), undefined, { trackerObject: buildObject() })
    const two = await storeHost(t, join(root, 'two'))
    const it = await Held.begin(one, newVolume())
    const small = join(it.data, 'small')
    writeFileSync(small, randomBytes(BLOCK_BYTES))
    await next(it, two)
    const child = spawn('python3', [STALLED_WRITE, small], { stdio: ['pipe', 'pipe', 'inherit'] })
    t.teardown(() => child.kill('SIGKILL'))
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    const isSaid = async (what: string) => t.is((await lines.next()).value, what)
    const release = async () => {
      child.stdin.write('go\n')
      await isSaid('written')
    }
    await isSaid('stalled')
    await sleep(2 * TICK_MS)
    await it.host.store.spoolRound(it.volume.id, calm)
    if (when === 'before the last round') await release()
    const { complete } = await it.copyTo(two, await it.take())
    t.true(complete)
    if (when === 'after the checkpoint') {
      await release()
      await next(it, two)
    }
    t.true(readFileSync(join(two.data(it.volume.id), 'small')).equals(readFileSync(small)))
  })
}
