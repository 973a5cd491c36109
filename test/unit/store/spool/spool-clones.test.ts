import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  appendFileSync,
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  statfsSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { CLONES_MAX, EXTENTS_MAX } from '../../../../agent/store/spool/reflinks.ts'
import type { StoreOptions } from '../../../../agent/store/store.ts'
import { describeTree } from '../comparer.ts'
import { FILE_SYSTEMS, type FileSystemKind, fileSystem } from '../file-systems.ts'
import { calm, newVolume, storeHost } from '../fixture.ts'
import { Writer } from '../mmap/writer.ts'
import { buildObject } from '../tracker/fixture.ts'
import { Held } from './held.ts'

const PAGE_BYTES = 4096
const BLOCK_BYTES = 64 * 1024
const LARGE_BYTES = 20 * BLOCK_BYTES
/** Longer than any clock tick that ctimes are stamped with. */
const SOME_TICKS_MS = 50
const FILE_BYTES = 20 * LARGE_BYTES
const TRIES_MAX = 50
/** A file system may give blocks back only some time after their last file is gone. */
const FREED_WITHIN_MS = 60_000

/** A held volume on a file system of that kind, and a host that gets its checkpoints. */
async function held(t: ExecutionContext, kind: FileSystemKind, more: Partial<StoreOptions> = {}) {
  const root = fileSystem(t, kind)
  const one = await storeHost(t, join(root, 'one'), undefined, { atOnceBytes: 0, ...more })
  const it = await Held.begin(one, newVolume())
  return { root, it, two: await storeHost(t, join(root, 'two')) }
}

function fill(it: Held, name: string, bytes: number): void {
  writeFileSync(join(it.data, name), randomBytes(bytes))
}

function writeAt(path: string, offset: number): void {
  const fd = openSync(path, 'r+')
  writeSync(fd, randomBytes(100), 0, 100, offset)
  closeSync(fd)
}

/** How many files without a name this process has open on a file system. */
function clonesOpen(root: string): number {
  const targets = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      return ''
    }
  })
  return targets.filter((target) => target.startsWith(root) && target.endsWith(' (deleted)')).length
}

/** Everything that can be done to files by who runs on. */
function spoil(data: string): void {
  const at = (name: string) => join(data, name)
  for (const name of ['overwritten', 'same']) writeFileSync(at(name), randomBytes(LARGE_BYTES))
  writeAt(at('touched'), 7 * BLOCK_BYTES)
  truncateSync(at('cut'), 100)
  appendFileSync(at('grown'), randomBytes(LARGE_BYTES))
  rmSync(at('gone'))
  renameSync(at('moved'), at('elsewhere'))
  writeFileSync(`${at('replaced')}.new`, randomBytes(LARGE_BYTES))
  renameSync(`${at('replaced')}.new`, at('replaced'))
  for (const name of ['small', 'small-2']) writeFileSync(at(name), 'spoiled')
  rmSync(at('small-gone'))
  rmSync(at('directory'), { recursive: true })
  writeFileSync(at('new'), randomBytes(LARGE_BYTES))
  execFileSync('sync', ['-f', data])
}

const LARGE = ['overwritten', 'touched', 'cut', 'grown', 'gone', 'moved', 'replaced', 'directory/large']
const SMALL = ['small', 'small-2', 'small-gone', 'directory/small']

for (const kind of FILE_SYSTEMS) {
  for (const tracked of kind === 'btrfs' ? [false] : [false, true]) {
    const how = tracked ? ' with a tracker' : ''
    test(`promise 5: what is written after the freeze is not in the checkpoint, on ${kind}${how}`, async (t) => {
      const { root, it, two } = await held(t, kind, tracked ? { trackerObject: buildObject() } : {})
      for (let seq = 0; seq < 3; seq++) {
        mkdirSync(join(it.data, 'directory'), { recursive: true })
        for (const name of [...LARGE, 'same']) fill(it, name, LARGE_BYTES)
        for (const name of SMALL) fill(it, name, 100)
        await it.rounds(seq)
        // Some of it between the rounds and the pause.
        for (const name of LARGE) writeAt(join(it.data, name), 3 * BLOCK_BYTES)
        for (const name of ['grown', 'moved']) fill(it, name, LARGE_BYTES + 5 * seq)
        for (const name of SMALL) fill(it, name, 100 + seq)
        let then: string[] = []
        let clones = 0
        const taken = await it.take('quiet', () => {
          then = describeTree(it.data)
          clones = clonesOpen(root)
          spoil(it.data)
        })
        t.true(kind === 'ext4' ? clones === 0 : clones >= LARGE.length, `${clones} clones`)
        t.is(clonesOpen(root), 0)
        t.true((await it.copyTo(two, taken)).complete)
        t.deepEqual(describeTree(two.data(it.volume.id)), then)
      }
    })
  }
}

test('promise 5: what is stored through a mapping once the tree is frozen is not in the checkpoint', async (t) => {
  for (const kind of ['xfs', 'btrfs'] as const) {
    const { it, two } = await held(t, kind)
    const file = join(it.data, 'file')
    fill(it, 'file', 2 * LARGE_BYTES)
    await it.rounds(1)
    const writer = await Writer.start(t, 'mmap', 1, [file])
    await it.rounds(1)
    await writer.stop()
    let then: string[] = []
    const taken = await it.take('quiet', () => {
      then = describeTree(it.data)
      writer.go()
    })
    t.true((await it.copyTo(two, taken)).complete)
    t.deepEqual(describeTree(two.data(it.volume.id)), then, kind)
  }
})

for (const kind of ['xfs', 'btrfs'] as const) {
  test(`what is frozen and given up leaves nothing open and no room taken, on ${kind}`, async (t) => {
    const { root, it } = await held(t, kind)
    const { store } = it.host
    const { id } = it.volume
    fill(it, 'file', FILE_BYTES)
    await it.rounds(1)
    await it.take()
    const stop = new AbortController()
    stop.abort(new Error('stop'))
    const ways: Record<string, () => PromiseLike<unknown>> = {
      'a new round': () => it.rounds(1),
      'given up': () => store.spoolThaw(id),
      'an abort': () => t.throwsAsync(store.spoolLast(id, stop.signal), { message: 'stop' }),
      'a release': () => store.capture(id, 'quiet', calm),
      'the end of the agent': () => store[Symbol.asyncDispose](),
    }
    for (const [way, end] of Object.entries(ways)) {
      writeAt(join(it.data, 'file'), 0)
      await store.spoolFreeze(id, 'quiet', calm)
      await store.spoolFreeze(id, 'quiet', calm)
      t.is(clonesOpen(root), 1, way)
      await end()
      t.is(clonesOpen(root), 0, way)
      if (way !== 'the end of the agent') await t.throwsAsync(store.spoolLast(id, calm), { code: 'HASH_MISMATCH' }, way)
    }
    const usedBytes = () => {
      execFileSync('sync', ['-f', root])
      const { blocks, bfree, bsize } = statfsSync(root)
      return (blocks - bfree) * bsize
    }
    const before = usedBytes()
    rmSync(join(it.data, 'file'))
    const deadline = Date.now() + FREED_WITHIN_MS
    while (before - usedBytes() < FILE_BYTES && Date.now() < deadline) await sleep(SOME_TICKS_MS)
    t.true(before - usedBytes() >= FILE_BYTES, 'nothing else has its blocks')
  })
}

test('a freeze that is stopped or finds the tree changed leaves no clone open', async (t) => {
  const { root, it } = await held(t, 'xfs')
  for (let nth = 0; nth < 20; nth++) fill(it, `file-${nth}`, LARGE_BYTES)
  for (let nth = 0; nth < 20; nth++) {
    const stop = new AbortController()
    setTimeout(() => stop.abort(new Error('stop')), nth)
    await it.host.store.spoolFreeze(it.volume.id, 'quiet', stop.signal).then(
      () => it.host.store.spoolThaw(it.volume.id),
      (error) => t.is((error as Error).message, 'stop'),
    )
    t.is(clonesOpen(root), 0)
  }
  await Writer.start(t, 'write', 1, [join(it.data, 'file-0')])
  let changed = 0
  for (let tries = 0; tries < TRIES_MAX && changed === 0; tries++) {
    await it.host.store.spoolFreeze(it.volume.id, 'quiet', calm).then(
      () => it.host.store.spoolThaw(it.volume.id),
      (error) => (error as { code: string }).code === 'TREE_CHANGED' && changed++,
    )
    t.is(clonesOpen(root), 0)
  }
  t.is(changed, 1)
})

test('more files than may be cloned at once are read while everybody stands still', async (t) => {
  const { root, it, two } = await held(t, 'xfs')
  const names = Array.from({ length: CLONES_MAX + 40 }, (_, nth) => `file-${nth}`)
  for (const name of names) fill(it, name, 2 * BLOCK_BYTES)
  await it.rounds(1)
  await it.copyTo(two, await it.take())
  for (const name of names) writeAt(join(it.data, name), 10)
  let then: string[] = []
  const taken = await it.take('quiet', () => {
    then = describeTree(it.data)
    t.is(clonesOpen(root), CLONES_MAX)
    for (const name of names) fill(it, name, 2 * BLOCK_BYTES)
  })
  t.true((await it.copyTo(two, taken)).complete)
  t.deepEqual(describeTree(two.data(it.volume.id)), then)
})

test('files of which little is to be read are read during the pause: clones would fragment them', async (t) => {
  const { root, it, two } = await held(t, 'xfs', { atOnceBytes: 3 * LARGE_BYTES })
  for (const name of ['one', 'two', 'three', 'four']) fill(it, name, LARGE_BYTES)
  await it.rounds(1)
  await it.copyTo(two, await it.take())
  for (const count of [3, 4]) {
    for (const name of ['one', 'two', 'three', 'four'].slice(0, count)) writeAt(join(it.data, name), 10)
    let then: string[] = []
    const taken = await it.take('quiet', () => {
      then = describeTree(it.data)
      t.is(clonesOpen(root), count - 3)
      for (const name of ['one', 'two', 'three', 'four']) fill(it, name, LARGE_BYTES)
    })
    t.true((await it.copyTo(two, taken)).complete)
    t.deepEqual(describeTree(two.data(it.volume.id)), then)
    await it.rounds(1)
    await it.copyTo(two, await it.take())
  }
})

test('a file with so many extents that cloning it would take long is read during the pause', async (t) => {
  for (const kind of ['xfs', 'btrfs'] as const) {
    const { root, it, two } = await held(t, kind)
    const pieces = openSync(join(it.data, 'pieces'), 'w+')
    for (let nth = 0; nth <= EXTENTS_MAX; nth++) {
      writeSync(pieces, randomBytes(PAGE_BYTES), 0, PAGE_BYTES, nth * 2 * BLOCK_BYTES)
    }
    closeSync(pieces)
    for (const name of ['one', 'two']) fill(it, name, LARGE_BYTES)
    await it.rounds(1)
    await it.copyTo(two, await it.take())
    for (const name of ['pieces', 'one', 'two']) writeAt(join(it.data, name), 4 * BLOCK_BYTES)
    let then: string[] = []
    const taken = await it.take('quiet', () => {
      then = describeTree(it.data)
      t.is(clonesOpen(root), 2, kind)
      for (const name of ['pieces', 'one', 'two']) writeAt(join(it.data, name), 4 * BLOCK_BYTES)
    })
    t.true((await it.copyTo(two, taken)).complete)
    t.deepEqual(describeTree(two.data(it.volume.id)), then)
  }
})

test('a file that cannot be cloned is read while everybody stands still, beside others that are cloned', async (t) => {
  const { root, it, two } = await held(t, 'btrfs')
  for (const name of ['plain', 'one', 'two']) {
    const path = join(it.data, name)
    writeFileSync(path, '')
    if (name !== 'one') execFileSync('chattr', ['+C', path])
    fill(it, name, LARGE_BYTES)
  }
  await it.rounds(1)
  await it.copyTo(two, await it.take())
  for (let round = 0; round < 3; round++) {
    for (const name of ['plain', 'one', 'two']) writeAt(join(it.data, name), round * BLOCK_BYTES)
    appendFileSync(join(it.data, 'plain'), randomBytes(1000))
    fill(it, `new-${round}`, LARGE_BYTES)
    let then: string[] = []
    const taken = await it.take('quiet', () => {
      then = describeTree(it.data)
      t.is(clonesOpen(root), 2)
      for (const name of ['plain', 'one', 'two']) fill(it, name, LARGE_BYTES)
    })
    t.true((await it.copyTo(two, taken)).complete)
    t.deepEqual(describeTree(two.data(it.volume.id)), then)
  }
})

test('what no spool and no clone has comes from the tree; if that has changed, the next try has it', async (t) => {
  let step = () => {}
  const root = fileSystem(t, 'xfs')
  const one = await storeHost(t, join(root, 'one'), (name) => name === 'spool-scanned' && step(), { atOnceBytes: 0 })
  const it = await Held.begin(one, newVolume())
  const two = await storeHost(t, join(root, 'two'))
  for (const name of ['file', 'other']) fill(it, name, LARGE_BYTES)
  await it.rounds(1)
  await it.copyTo(two, await it.take())
  for (const moves of [false, true]) {
    await it.rounds(1)
    fill(it, 'file', LARGE_BYTES)
    await sleep(SOME_TICKS_MS)
    // A round that is cut off when it has seen the file and not copied it.
    const stop = new AbortController()
    step = () => stop.abort(new Error('stop'))
    await t.throwsAsync(it.host.store.spoolRound(it.volume.id, stop.signal), { message: 'stop' })
    step = () => {}
    writeAt(join(it.data, 'other'), 0)
    const take = () => it.take('quiet', () => moves && fill(it, 'file', LARGE_BYTES))
    if (moves) await t.throwsAsync(take(), { code: 'TREE_CHANGED', message: /file/ })
    else t.true((await it.copyTo(two, await take())).complete)
    t.is(clonesOpen(root), 0)
  }
  await it.rounds(1)
  let then: string[] = []
  const taken = await it.take('quiet', () => {
    then = describeTree(it.data)
    for (const name of ['file', 'other']) fill(it, name, LARGE_BYTES)
  })
  t.true((await it.copyTo(two, taken)).complete)
  t.deepEqual(describeTree(two.data(it.volume.id)), then)
})
