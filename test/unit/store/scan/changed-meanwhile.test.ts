import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { appendFileSync, linkSync, readlinkSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { loadSnapshot } from '../../../../agent/store/snapshot/saved-snapshot.ts'
import { captured } from './captured.ts'
import { blockListOf, LARGE_BYTES, TICKS_MS } from './contents.ts'

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
    const inUse = kept ? 'fuzzy' : 'left out with its links'
    test(`a file that ${how} just ${when} it is read is refused in quiet, ${inUse} in use`, async (t) => {
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
        t.deepEqual(await lists.list(manifest.find('z')), blockListOf(content.subarray(1)))
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
