import { execFileSync, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  appendFileSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { blockBytesOf, isSmall } from '../../../../agent/store/blocks.ts'
import type { Scan } from '../../../../agent/store/capture/scan.ts'
import { loadKnown, loadSnapshot } from '../../../../agent/store/snapshot/kept.ts'
import { buildOddTree } from '../odd-tree.ts'
import { captured } from './captured.ts'

/** Longer than a clock tick of any kernel: what was written before is clean for the next capture. */
const TICKS_MS = 30
const LARGE_BYTES = 300_000

const sha = (data: Buffer) => createHash('sha256').update(data).digest()

/** List of block hashes of a content, and a file's hash, worked out in the simplest way. */
function listOf(content: Buffer): Buffer {
  const blockBytes = blockBytesOf(content.length)
  const count = Math.ceil(content.length / blockBytes)
  return Buffer.concat(
    Array.from({ length: count }, (_, nth) => sha(content.subarray(nth * blockBytes, (nth + 1) * blockBytes))),
  )
}

function hashOfContent(content: Buffer): Buffer {
  return sha(isSmall(content.length) ? content : listOf(content))
}

function hashAt(scan: Scan, path: string): Buffer {
  const entry = scan.manifest.entry(scan.manifest.find(path))
  if (entry.kind !== 'file') throw new Error(`${path} is a ${entry.kind}`)
  return entry.hash
}

test('a capture describes every entry as the kernel and the system tools do', async (t) => {
  const tree = await captured(t)
  buildOddTree(tree.data)
  execFileSync('chattr', ['+d', join(tree.data, 'plain/hello-again')])
  writeFileSync(join(tree.data, 'last'), randomBytes(LARGE_BYTES))
  const scan = await tree.capture('quiet')
  const { manifest } = scan
  const first = new Map<bigint, number>()
  for (let index = 0; index < manifest.count; index++) {
    const entry = manifest.entry(index)
    const place = Buffer.concat([Buffer.from(`${tree.data}/`), Buffer.from(entry.path, 'latin1')])
    const stat = lstatSync(place, { bigint: true })
    t.is(entry.kind === 'link', !stat.isDirectory() && first.has(stat.ino), entry.path)
    if (entry.kind === 'link') {
      t.is(first.get(stat.ino), entry.to)
      continue
    }
    first.set(stat.ino, index)
    t.is(scan.seen.ino(index), stat.ino)
    t.is(scan.seen.ctimeNs(index), stat.ctimeNs)
    const { mode, uid, gid, mtimeNs } = entry
    t.deepEqual(
      [mode, uid, gid, mtimeNs],
      [Number(stat.mode) & 0o7777, Number(stat.uid), Number(stat.gid), stat.mtimeNs],
    )
    t.is(entry.flags, entry.path === 'plain/hello-again' ? 0x40 : 0)
    if (entry.kind === 'symlink') t.is(entry.target, readlinkSync(place, 'latin1'))
    if (entry.kind !== 'file') continue
    t.is(entry.sizeBytes, Number(stat.size))
    t.deepEqual(entry.hash, hashOfContent(readFileSync(place)))
    t.deepEqual(await scan.lists.list(index), isSmall(entry.sizeBytes) ? null : listOf(readFileSync(place)))
  }
  t.is(manifest.files, Number(execFileSync('sh', ['-c', 'find . -mindepth 1 -printf x | wc -c'], { cwd: tree.data })))
  const device = manifest.entry(manifest.find('blk'))
  t.deepEqual('major' in device ? [device.kind, device.major, device.minor] : null, ['block', 259, 300])
  const big = manifest.entry(manifest.find('plain/big'))
  t.deepEqual(big.kind === 'link' ? null : big.xattrs, [
    ['user.empty', Buffer.alloc(0)],
    ['user.note', Buffer.from('some value')],
  ])
})

test('holes are not read', async (t) => {
  const tree = await captured(t)
  const path = join(tree.data, 'sparse')
  writeFileSync(path, '')
  truncateSync(path, 50_000_000)
  execFileSync('dd', [
    'if=/dev/urandom',
    `of=${path}`,
    'bs=4096',
    'count=1',
    'seek=5000',
    'conv=notrunc',
    'status=none',
  ])
  const scan = await tree.capture('quiet')
  t.deepEqual(hashAt(scan, 'sparse'), hashOfContent(readFileSync(path)))
  t.is(scan.filesRead, 1)
  t.true(scan.bytesRead < 100_000, `${scan.bytesRead} bytes`)
})

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
  t.deepEqual(await last.lists.list(last.manifest.find('g8')), listOf(readFileSync(at('g8'))))
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
  t.is(before.length, 3)
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
  t.deepEqual(await live?.lists.list(large), listOf(readFileSync(join(tree.data, 'plain/big'))))
  t.is((await tree.capture('quiet')).filesRead, 0)
  t.deepEqual(readdirSync(tree.directory).sort(), ['data', 'last.lists', 'last.manifest', 'last.seen', 'tick'])
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
  for (const [n, data] of content.entries()) t.deepEqual(await scan.lists.list(n + 1), listOf(data))
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

test('a live capture that is cut off saves the next one what it has read, and nothing else is taken from it', async (t) => {
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

test('a tree that is written to during a quiet capture rejects TREE_CHANGED and names the file', async (t) => {
  const tree = await captured(t)
  writeFileSync(join(tree.data, 'busy'), randomBytes(30_000_000))
  const writer = spawn('sh', ['-c', 'while :; do printf x >> busy; done'], { cwd: tree.data })
  t.teardown(() => writer.kill('SIGKILL'))
  await once(writer, 'spawn')
  await sleep(50)
  await t.throwsAsync(tree.capture('quiet'), { code: 'TREE_CHANGED', message: /busy/ })
  t.is((await tree.capture('live')).manifest.files, 1)
  t.is(await loadSnapshot(tree.directory, 'last'), null)
})

/** What can happen to a file while it is read, and what a live capture makes of it. */
const MEANWHILE: Record<string, { edit: (path: string) => void; kept: boolean }> = {
  grows: { edit: (path) => appendFileSync(path, 'x'), kept: true },
  shrinks: { edit: (path) => truncateSync(path, 3), kept: true },
  'is written to': { edit: (path) => writeFileSync(path, 'y', { flag: 'r+' }), kept: true },
  vanishes: { edit: (path) => unlinkSync(path), kept: false },
  'becomes a directory': { edit: (path) => execFileSync('sh', ['-c', 'rm "$0"; mkdir "$0"', path]), kept: false },
  'becomes a symlink': { edit: (path) => execFileSync('ln', ['-sf', '/etc/passwd', path]), kept: false },
}

for (const [how, { edit: meanwhile, kept }] of Object.entries(MEANWHILE)) {
  for (const when of ['before', 'after'] as const) {
    test(`a file that ${how} just ${when} it is read is refused in quiet, ${kept ? 'fuzzy' : 'left out with its links'} in use`, async (t) => {
      for (const size of [1000, LARGE_BYTES]) {
        const tree = await captured(t)
        const path = join(tree.data, 'b')
        const content = randomBytes(LARGE_BYTES)
        let edited = false
        const now = (moment: string, matches: boolean) => {
          if (moment !== when || !matches || edited) return
          edited = true
          meanwhile(path)
        }
        const pool = tree.poolWith({
          hashFiles: async (...task) => {
            now('before', size === 1000)
            const result = await tree.pool.hashFiles(...task)
            now('after', size === 1000)
            return result
          },
          rehashBlocks: async (...task) => {
            // The walk is through by then, as it is with the small files.
            await sleep(20)
            const ours = readlinkSync(`/proc/self/fd/${task[0]}`) === path
            now('before', ours)
            const result = await tree.pool.rehashBlocks(...task)
            now('after', ours)
            return result
          },
        })
        const reset = async () => {
          execFileSync('sh', ['-c', 'rm -rf ./*'], { cwd: tree.data })
          for (const name of ['a', 'b', 'd']) writeFileSync(join(tree.data, name), content.subarray(0, size))
          writeFileSync(join(tree.data, 'z'), content.subarray(1))
          linkSync(path, join(tree.data, 'c'))
          linkSync(join(tree.data, 'd'), join(tree.data, 'e'))
          await sleep(TICKS_MS)
          edited = false
        }
        await reset()
        await t.throwsAsync(tree.capture('quiet', { pool }), { code: 'TREE_CHANGED' }, `${size}`)
        await reset()
        const { manifest, lists } = await tree.capture('live', { pool })
        const names = Array.from({ length: manifest.files }, (_, nth) => manifest.path(nth + 1))
        t.deepEqual(names, kept ? ['a', 'b', 'c', 'd', 'e', 'z'] : ['a', 'd', 'e', 'z'])
        const link = manifest.entry(manifest.find('e'))
        t.is(link.kind === 'link' ? link.to : -1, manifest.find('d'))
        t.deepEqual(await lists.list(manifest.find('z')), listOf(content.subarray(1)))
        t.true((await tree.capture('live')).filesRead <= 3, 'all that stood still is known')
      }
    })
  }
}

test('a live capture survives files that come and go', async (t) => {
  const tree = await captured(t)
  writeFileSync(join(tree.data, 'stays'), 'here')
  const script =
    'while :; do mkdir -p d/e; for i in 1 2 3 4 5 6 7 8 9; do echo $i > d/e/$i; done; mv d f; rm -rf f; done'
  const writer = spawn('sh', ['-c', script], { cwd: tree.data })
  t.teardown(() => writer.kill('SIGKILL'))
  await once(writer, 'spawn')
  for (let round = 0; round < 30; round += 1) t.true((await tree.capture('live')).manifest.find('stays') > 0)
})

test('what the caller knows of a content is not read', async (t) => {
  const tree = await captured(t)
  const large = randomBytes(LARGE_BYTES)
  writeFileSync(join(tree.data, 'large'), large)
  writeFileSync(join(tree.data, 'other'), large)
  writeFileSync(join(tree.data, 'small'), 'small')
  await sleep(TICKS_MS)
  const asked: [string, bigint, number][] = []
  const scan = await tree.capture('quiet', {
    content: (path, ino, sizeBytes) => {
      asked.push([path, ino, sizeBytes])
      if (path === 'other') return undefined
      return path === 'small' ? { hash: sha(Buffer.from('small')) } : { hash: sha(listOf(large)), list: listOf(large) }
    },
  })
  const { ino } = statSync(join(tree.data, 'large'), { bigint: true })
  t.deepEqual(asked[0], ['large', ino, LARGE_BYTES])
  t.is(scan.filesRead, 1)
  t.is(scan.manifest.hash, (await tree.look(true, null)).manifest.hash)
  t.is((await tree.capture('quiet')).filesRead, 0)
})

test('a quiet capture ends when its signal aborts', async (t) => {
  const tree = await captured(t)
  for (let n = 0; n < 100; n++) writeFileSync(join(tree.data, `${n}`), randomBytes(LARGE_BYTES))
  const abort = new AbortController()
  const capture = tree.capture('quiet', { signal: abort.signal })
  abort.abort(new Error('enough'))
  await t.throwsAsync(capture, { message: 'enough' })
})

test('a mount within the tree is refused, not silently left out', async (t) => {
  const tree = await captured(t)
  execFileSync('sh', ['-c', 'mkdir sub && mount -t tmpfs none sub'], { cwd: tree.data })
  try {
    await t.throwsAsync(tree.capture('quiet'), { code: 'TREE_UNSUPPORTED', message: /sub/ })
  } finally {
    execFileSync('umount', [join(tree.data, 'sub')])
  }
})

test('a tree deeper than a manifest can say is refused', async (t) => {
  const tree = await captured(t)
  execFileSync('sh', ['-c', 'for i in $(seq 256); do mkdir d && cd -P d || exit 1; done'], { cwd: tree.data })
  t.is((await tree.capture('quiet')).manifest.files, 256)
  execFileSync('sh', ['-c', 'for i in $(seq 256); do cd -P d || exit 1; done; : > x'], { cwd: tree.data })
  await t.throwsAsync(tree.capture('quiet'), { code: 'TREE_UNSUPPORTED', message: /deep/ })
})

test.serial('the event loop is not held up while large files and many small ones are captured', async (t) => {
  const tree = await captured(t)
  for (let n = 0; n < 5; n += 1) writeFileSync(join(tree.data, `large${n}`), randomBytes(10_000_000))
  for (let n = 0; n < 5000; n += 1) writeFileSync(join(tree.data, `small${n}`), `${n}`)
  for (const round of ['cold', 'warm']) {
    let [turns, last, longestMs] = [0, performance.now(), 0]
    const timer = setInterval(() => {
      longestMs = Math.max(longestMs, performance.now() - last)
      last = performance.now()
      turns += 1
    }, 1)
    await tree.capture('quiet')
    clearInterval(timer)
    t.true(turns > 1, `${turns} turns, ${round}`)
    // The machine is shared: the bound is far above the 10 ms slices and far below what a blocked loop would take.
    t.true(longestMs < 200, `${longestMs} ms, ${round}`)
  }
})
