import { randomBytes } from 'node:crypto'
import {
  appendFileSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { loadKnown, loadSnapshot } from '../../../../agent/store/snapshot/saved-snapshot.ts'
import { buildOddTree } from '../odd-tree.ts'
import { captured } from './captured.ts'
import { blockListOf, hashAt, LARGE_BYTES, sha, TICKS_MS } from './contents.ts'

test('a capture reads only what can have changed since the last one, live or quiet', async (t) => {
  const tree = await captured(t)
  const at = (name: string) => join(tree.data, name)
  for (let n = 0; n < 10; n += 1) writeFileSync(at(`f${n}`), randomBytes(n < 5 ? 9 : LARGE_BYTES))
  await sleep(TICKS_MS)
  t.is((await tree.capture('quiet')).filesRead, 10)
  t.is((await tree.capture('quiet')).filesRead, 0)
  writeFileSync(at('f3'), 'changed')
  renameSync(at('f8'), at('g8'))
  await sleep(TICKS_MS)
  t.is((await tree.capture('live')).filesRead, 2)
  const last = await tree.capture('quiet')
  t.is(last.filesRead, 0, 'the live capture had read them')
  t.is(last.manifest.files, 10)
  t.deepEqual(hashAt(last, 'f3'), sha(Buffer.from('changed')))
  t.deepEqual(await last.lists.list(last.manifest.find('g8')), blockListOf(readFileSync(at('g8'))))
})

test('where nothing changed, a capture is what was kept, and writes nothing', async (t) => {
  const tree = await captured(t)
  buildOddTree(tree.data)
  await sleep(TICKS_MS)
  const first = await tree.capture('quiet')
  const files = () =>
    readdirSync(tree.directory)
      .filter((name) => name.startsWith('last') || name.startsWith('scan'))
      .map((name) => `${name} ${statSync(join(tree.directory, name), { bigint: true }).ctimeNs}`)
  const before = files()
  t.is(before.length, 4)
  const known = await loadKnown(tree.directory)
  const scan = await tree.look(true, known)
  t.true(scan.manifest === known.last?.manifest)
  t.is(scan.manifest.hash, first.manifest.hash)
  await tree.capture('quiet')
  t.deepEqual(files(), before)
  t.is((await tree.capture('live')).filesRead, 0)
  const live = await loadSnapshot(tree.directory, 'live')
  t.is(live?.manifest.hash, first.manifest.hash)
  const large = first.manifest.find('plain/big')
  t.deepEqual(await live?.lists.list(large), blockListOf(readFileSync(join(tree.data, 'plain/big'))))
  t.is((await tree.capture('quiet')).filesRead, 0)
  t.deepEqual(readdirSync(tree.directory).sort(), [
    'data',
    'last.lists',
    'last.manifest',
    'last.places',
    'last.seen',
    'tick',
  ])
})

/** Small numbers that look random and are the same at every run. */
function dice(seed: number): (sides: number) => number {
  let state = seed
  return (sides) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return Math.floor((state / 2 ** 32) * sides)
  }
}

/** Changes something in a tree of some twenty entries. */
function edit(root: string, roll: (sides: number) => number): void {
  const path = join(root, ...Array.from({ length: 1 + roll(3) }, () => `d${roll(3)}`))
  const other = join(root, `d${roll(3)}`)
  const kind = existsSync(path) ? (lstatSync(path).isDirectory() ? 'dir' : 'file') : 'nothing'
  const parent = join(path, '..')
  if (!existsSync(parent) || !lstatSync(parent).isDirectory()) return
  const action = roll(10)
  if (kind === 'nothing') {
    if (action < 4) mkdirSync(path)
    else if (action < 9) writeFileSync(path, randomBytes(action % 2 === 0 ? roll(100) : 60_000 + roll(LARGE_BYTES)))
    else if (existsSync(other) && lstatSync(other).isFile()) linkSync(other, path)
  } else if (action < 3) rmSync(path, { recursive: true })
  else if (kind === 'file') appendFileSync(path, randomBytes(roll(100_000)))
  else if (action < 5 && !existsSync(`${path}x`)) renameSync(path, `${path}x`)
  else utimesSync(path, roll(1000), roll(1000))
}

test('a capture made from what is kept is the one that reads everything, after any changes', async (t) => {
  const tree = await captured(t)
  const roll = dice(7)
  let saved = 0
  for (let round = 0; round < 60; round += 1) {
    for (let n = roll(6); n >= 0; n -= 1) edit(tree.data, roll)
    if (roll(2) === 0) await sleep(TICKS_MS)
    const scan = await tree.capture(roll(3) === 0 ? 'live' : 'quiet')
    const anew = await tree.look(true, null)
    t.is(scan.manifest.hash, anew.manifest.hash, `round ${round}`)
    t.is(scan.manifest.bytes, anew.manifest.bytes)
    saved += anew.filesRead - scan.filesRead
    const kept = await loadSnapshot(tree.directory, scan.lists.path.includes('live') ? 'live' : 'last')
    t.is(kept?.manifest.hash, anew.manifest.hash)
    for (let index = 0; index < anew.manifest.count; index++) {
      t.is(kept?.seen.ino(index), anew.seen.ino(index))
      t.is(kept?.seen.ctimeNs(index), anew.seen.ctimeNs(index))
      const list = await kept?.lists.list(index)
      t.deepEqual(list, await anew.lists.list(index))
      t.is(list !== null, anew.manifest.isLarge(index))
    }
  }
  t.true(saved > 50, `${saved} files needed no reading`)
})

test('lists that are damaged or gone are made anew', async (t) => {
  const tree = await captured(t)
  const content = [randomBytes(LARGE_BYTES), randomBytes(LARGE_BYTES)]
  for (const [n, data] of content.entries()) writeFileSync(join(tree.data, `f${n}`), data)
  await sleep(TICKS_MS)
  await tree.capture('quiet')
  const path = join(tree.directory, 'last.lists')
  const damaged = readFileSync(path)
  damaged[100] = (damaged[100] ?? 0) ^ 1
  writeFileSync(path, damaged)
  t.is((await tree.capture('quiet')).filesRead, 1)
  unlinkSync(path)
  t.is((await tree.capture('quiet')).filesRead, 2)
  const scan = await tree.capture('quiet')
  t.is(scan.filesRead, 0)
  for (const [n, data] of content.entries()) t.deepEqual(await scan.lists.list(n + 1), blockListOf(data))
})

test('parts of kept snapshots that do not belong together are not believed', async (t) => {
  const tree = await captured(t)
  writeFileSync(join(tree.data, 'one'), 'content')
  await sleep(TICKS_MS)
  await tree.capture('quiet')
  const old = readFileSync(join(tree.directory, 'last.manifest'))
  const path = join(tree.data, 'one')
  writeFileSync(path, 'changed')
  await sleep(TICKS_MS)
  const { manifest } = await tree.capture('quiet')
  // As after a crash between the renames of its parts.
  writeFileSync(join(tree.directory, 'last.manifest'), old)
  const scan = await tree.capture('quiet')
  t.is(scan.filesRead, 1)
  t.is(scan.manifest.hash, manifest.hash)
})

test('a live capture that is cut off saves the next one what it has read, and nothing else', async (t) => {
  const tree = await captured(t)
  for (let n = 0; n < 3; n += 1) writeFileSync(join(tree.data, `a${n}`), `content ${n}`)
  await sleep(TICKS_MS)
  await tree.capture('quiet')
  for (let n = 0; n < 40; n += 1) writeFileSync(join(tree.data, `b${n}`), randomBytes(LARGE_BYTES))
  mkdirSync(join(tree.data, 'c'))
  for (let n = 0; n < 300; n += 1) writeFileSync(join(tree.data, 'c', `${n}`), `${n}`)
  await sleep(TICKS_MS)
  const abort = new AbortController()
  let calls = 0
  const rehashBlocks: typeof tree.pool.rehashBlocks = async (...task) => {
    calls += 1
    if (calls === 20) abort.abort(new Error('cut off'))
    await new Promise(setImmediate)
    return await tree.pool.rehashBlocks(...task)
  }
  const cut = await tree.capture('live', { signal: abort.signal, pool: tree.poolWith({ rehashBlocks }) })
  t.false(cut.complete)
  t.true(cut.manifest.find('b0') > 0)
  const { filesRead, manifest } = await tree.capture('quiet')
  t.is(manifest.files, 344)
  t.true(filesRead >= 310 && filesRead < 340, `${filesRead} of 340 new files were read again`)
  t.is((await tree.capture('quiet')).filesRead, 0)
  t.is(manifest.hash, (await tree.look(true, null)).manifest.hash)
})

test('a change that keeps size and mtime is seen', async (t) => {
  const tree = await captured(t)
  const path = join(tree.data, 'file')
  writeFileSync(path, 'before')
  utimesSync(path, 1000, 1000)
  await sleep(TICKS_MS)
  const before = await tree.capture('quiet')
  writeFileSync(path, 'behind')
  utimesSync(path, 1000, 1000)
  const after = await tree.capture('quiet')
  t.is(after.filesRead, 1)
  t.not(after.manifest.hash, before.manifest.hash)
})

test('a file written in the same clock tick as a capture is read again by the next', async (t) => {
  const tree = await captured(t)
  const path = join(tree.data, 'file')
  // Many rounds: some hit the same tick. A lost write would show as an old hash in the last capture.
  for (let round = 0; round < 30; round += 1) {
    writeFileSync(path, `round ${String(round).padStart(3)}`)
    const one = await tree.capture('quiet')
    writeFileSync(path, `later ${String(round).padStart(3)}`)
    const two = await tree.capture('quiet')
    t.not(two.manifest.hash, one.manifest.hash)
    t.deepEqual(hashAt(two, 'file'), sha(readFileSync(path)))
  }
})

test('after a reboot nothing that was seen before counts', async (t) => {
  const tree = await captured(t)
  writeFileSync(join(tree.data, 'file'), 'content')
  await sleep(TICKS_MS)
  await tree.capture('quiet')
  const seen = join(tree.directory, 'last.seen')
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
  const text = readFileSync(seen, 'latin1')
  t.true(text.includes(boot))
  writeFileSync(seen, Buffer.from(text.replace(boot, boot.replaceAll(/[0-9a-f]/g, '0')), 'latin1'))
  t.is((await tree.capture('quiet')).filesRead, 1)
})
