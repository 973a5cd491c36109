import { randomBytes } from 'node:crypto'
import { appendFileSync, readlinkSync, renameSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import type { KnownTrees } from '../../../../agent/store/snapshot/saved-snapshot.ts'
import { type CapturedDirectory, captured } from './captured.ts'
import { LARGE_BYTES, TICKS_MS } from './contents.ts'

const BLOCK_BYTES = 16 * 1024
const audit = { blocks: 0, files: 8 }
/** Blocks of a file that one scan reads, see audit-blocks.ts. */
const TRIES = 4
const BLOCKS = Math.ceil(LARGE_BYTES / BLOCK_BYTES)
/** All of these scans miss one block of the large file once in ten million times. */
const LOOKS = Math.ceil(Math.log(1e-7) / (TRIES * Math.log(1 - 1 / BLOCKS)))

/** A kept tree of a small and a large file. */
async function kept(
  t: ExecutionContext,
): Promise<{ tree: CapturedDirectory; known: KnownTrees; small: string; large: string }> {
  const tree = await captured(t)
  const [small, large] = [join(tree.data, 'small'), join(tree.data, 'large')]
  writeFileSync(small, randomBytes(1000))
  writeFileSync(large, randomBytes(LARGE_BYTES))
  await sleep(TICKS_MS)
  return { tree, known: { live: null, last: await tree.capture('quiet') }, small, large }
}

/** The tree's pool, where something happens just before a file is read that a walk has kept. */
function before(tree: CapturedDirectory, happens: (path: string) => void) {
  return tree.poolWith({
    hashFiles: (...task) => {
      for (const name of task[1]) happens(join(tree.data, name))
      return tree.pool.hashFiles(...task)
    },
    rehashSome: (...task) => {
      happens(readlinkSync(`/proc/self/fd/${task[0]}`))
      return tree.pool.rehashSome(...task)
    },
  })
}

/** The tree's pool, where one file has another content than it had, although nothing was done to it. */
function withOther(tree: CapturedDirectory, path: string) {
  return tree.poolWith({
    hashFiles: async (...task) => {
      const { hashes, outcomes } = await tree.pool.hashFiles(...task)
      for (const [nth, name] of task[1].entries())
        if (join(tree.data, name) === path) hashes.fill(0, nth * 32, (nth + 1) * 32)
      return { hashes, outcomes }
    },
    rehashSome: async (...task) => {
      const found = await tree.pool.rehashSome(...task)
      const at = task[2].indexOf(2)
      if (readlinkSync(`/proc/self/fd/${task[0]}`) === path && at >= 0) found.hashes.fill(0, at * 32, (at + 1) * 32)
      return found
    },
  })
}

/** What can happen to a file between the look at it and its being read. */
const MEANWHILE: Record<string, (path: string) => void> = {
  'is written to': (path) => writeFileSync(path, randomBytes(basename(path) === 'small' ? 1000 : LARGE_BYTES)),
  grows: (path) => appendFileSync(path, 'x'),
  shrinks: (path) => truncateSync(path, 3),
  vanishes: (path) => unlinkSync(path),
  'is replaced': (path) => {
    writeFileSync(`${path}.new`, randomBytes(basename(path) === 'small' ? 1000 : LARGE_BYTES))
    renameSync(`${path}.new`, path)
  },
}

for (const [how, edit] of Object.entries(MEANWHILE)) {
  test(`a file that ${how} after the walk has kept it is no suspect of the audit`, async (t) => {
    const { tree, known, small, large } = await kept(t)
    const edited = new Set<string>()
    const once = (path: string) => {
      if (edited.has(path)) return
      edited.add(path)
      edit(path)
    }
    const scan = await tree.look(false, known, { audit, pool: before(tree, once) })
    t.deepEqual(scan.suspects, [])
    t.deepEqual([...edited].sort(), [large, small].sort())
  })
}

test('a saved file with other content in the same state is a suspect, in a live tree or the last one', async (t) => {
  const { tree, known, small, large } = await kept(t)
  const { last } = known
  if (last === null) return t.fail('nothing is kept')
  const ino = (path: string) => last.seen.ino(last.manifest.find(basename(path)))
  const parts = {
    [small]: { offset: 0, length: 1000 },
    [large]: { offset: 2 * BLOCK_BYTES, length: BLOCK_BYTES },
  }
  for (const trees of [known, { live: last, last: null }, { live: last, last }]) {
    for (const [path, part] of Object.entries(parts)) {
      const pool = withOther(tree, path)
      let found = await tree.look(false, trees, { audit, pool })
      for (let looks = 1; found.suspects.length === 0 && looks < LOOKS; looks++) {
        found = await tree.look(false, trees, { audit, pool })
      }
      t.deepEqual(found.suspects, [{ name: basename(path), ino: ino(path), ...part, untouched: true }])
      t.is(found.filesRead, 0)
    }
  }
})

test('of many files that stay as they are a few are read, others each time, and none without an audit', async (t) => {
  const tree = await captured(t)
  for (let nth = 0; nth < 200; nth++) writeFileSync(join(tree.data, `file${nth}`), randomBytes(100))
  await sleep(TICKS_MS)
  const known = { live: null, last: await tree.capture('quiet') }
  const read = async (options: { audit?: typeof audit }) => {
    const paths: string[] = []
    await tree.look(false, known, { ...options, pool: before(tree, (path) => paths.push(path)) })
    return paths.sort()
  }
  const [first, second] = [await read({ audit }), await read({ audit })]
  t.is(first.length, 8)
  t.is(second.length, 8)
  t.notDeepEqual(first, second)
  t.deepEqual(await read({}), [])
})
