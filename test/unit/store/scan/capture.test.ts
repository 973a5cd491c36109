import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { lstatSync, readFileSync, readlinkSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { isSmall } from '../../../../agent/store/blocks/block-size.ts'
import { MAX_DEPTH } from '../../../../agent/store/manifest/byte-path.ts'
import { buildOddTree } from '../odd-tree.ts'
import { captured } from './captured.ts'
import { blockListOf, hashAt, hashOfContent, LARGE_BYTES, sha, TICKS_MS } from './contents.ts'

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
    t.deepEqual(await scan.lists.list(index), isSmall(entry.sizeBytes) ? null : blockListOf(readFileSync(place)))
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
      return path === 'small'
        ? { hash: sha(Buffer.from('small')) }
        : { hash: sha(blockListOf(large)), list: blockListOf(large) }
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
  const below = (step: string, last = '') =>
    execFileSync('python3', ['-c', `import os\nfor _ in range(${MAX_DEPTH}): ${step}\n${last}`], { cwd: tree.data })
  below("os.mkdir('d'); os.chdir('d')")
  t.is((await tree.capture('quiet')).manifest.files, MAX_DEPTH)
  below("os.chdir('d')", "open('x', 'w')")
  await t.throwsAsync(tree.capture('quiet'), { code: 'TREE_UNSUPPORTED', message: /deep/ })
})

/** What this thread has worked: how long it waits for a processor is not the code's doing. */
function cpuMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}

test.serial('the event loop is not held up while large files and many small ones are captured', async (t) => {
  const tree = await captured(t)
  for (let n = 0; n < 5; n += 1) writeFileSync(join(tree.data, `large${n}`), randomBytes(10_000_000))
  for (let n = 0; n < 5000; n += 1) writeFileSync(join(tree.data, `small${n}`), `${n}`)
  for (const round of ['cold', 'warm']) {
    let [turns, last, longestMs] = [0, cpuMs(), 0]
    const timer = setInterval(() => {
      longestMs = Math.max(longestMs, cpuMs() - last)
      last = cpuMs()
      turns += 1
    }, 1)
    await tree.capture('quiet')
    clearInterval(timer)
    t.true(turns > 1, `${turns} turns, ${round}`)
    // Far above the 10 ms slices and far below what a blocked loop would take.
    t.true(longestMs < 200, `${longestMs} ms, ${round}`)
  }
})
