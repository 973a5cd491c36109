import { randomBytes } from 'node:crypto'
import { linkSync, lstatSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { UnchangedSubtrees } from '../../../../agent/store/changes/unchanged-subtrees.ts'
import type { SavedTree } from '../../../../agent/store/snapshot/saved-snapshot.ts'
import type { Touched } from '../../../../agent/store/tracker/contract.ts'
import { type CapturedDirectory, captured } from '../scan/captured.ts'
import { LARGE_BYTES, TICKS_MS } from '../scan/contents.ts'

const NOTHING: Touched = { has: () => false, wasWritten: () => false }

/** Directories of files, small and large, two levels deep, as they were seen by a look at all of them. */
async function forest(t: ExecutionContext): Promise<{ tree: CapturedDirectory; live: SavedTree }> {
  const tree = await captured(t)
  for (const directory of ['a', 'b', 'b/in', 'c']) {
    mkdirSync(join(tree.data, directory))
    for (const file of ['1', '2', '3']) writeFileSync(join(tree.data, directory, file), `${directory} ${file}`)
    writeFileSync(join(tree.data, directory, 'large'), randomBytes(LARGE_BYTES))
  }
  await sleep(TICKS_MS)
  return { tree, live: await tree.look(false, null) }
}

/** The inodes that have these paths now, and no others. */
function only(tree: CapturedDirectory, ...paths: readonly string[]): Touched {
  const inodes = new Set(paths.map((path) => lstatSync(join(tree.data, path)).ino))
  const has = (low: number, high: number) => inodes.has(high * 2 ** 32 + low)
  return { has, wasWritten: has }
}

test('what is known to have stood still is not looked at', async (t) => {
  const { tree, live } = await forest(t)
  writeFileSync(join(tree.data, 'b', 'in', '2'), 'changed without a word')
  rmSync(join(tree.data, 'b', 'in', '3'))
  const scan = await tree.look(true, { live, last: null }, { unchanged: UnchangedSubtrees.of(live, NOTHING) })
  t.is(scan.manifest, live.manifest)
})

const CHANGES: Record<string, readonly [(at: (path: string) => string) => void, readonly string[]]> = {
  'a file that was written to': [(at) => writeFileSync(at('b/in/2'), 'changed'), ['b/in/2']],
  'a large file that was written to': [(at) => writeFileSync(at('b/large'), randomBytes(LARGE_BYTES)), ['b/large']],
  'the first file': [(at) => writeFileSync(at('a/1'), 'changed'), ['a/1']],
  'the last file': [(at) => writeFileSync(at('c/large'), 'small now'), ['c/large']],
  'a new file': [(at) => writeFileSync(at('b/in/new'), 'new'), ['b/in', 'b/in/new']],
  'a new directory': [
    (at) => {
      mkdirSync(at('b/new'))
      writeFileSync(at('b/new/file'), 'new')
    },
    ['b', 'b/new', 'b/new/file'],
  ],
  'a directory that is gone': [(at) => rmSync(at('b/in'), { recursive: true }), ['b']],
  'a directory that moved': [(at) => renameSync(at('b/in'), at('c/in')), ['b', 'c']],
  'a directory in the place of another': [
    (at) => {
      rmSync(at('a'), { recursive: true })
      renameSync(at('b'), at('a'))
    },
    [''],
  ],
  'a second name of a file': [(at) => linkSync(at('a/1'), at('c/first')), ['a/1', 'c']],
}

for (const [what, [change, touched]] of Object.entries(CHANGES)) {
  test(`${what} is found where the rest is not looked at`, async (t) => {
    const { tree, live } = await forest(t)
    change((path) => join(tree.data, path))
    await sleep(TICKS_MS)
    const still = UnchangedSubtrees.of(live, only(tree, ...touched))
    const scan = await tree.look(true, { live, last: null }, { unchanged: still })
    const whole = await tree.look(true, null)
    t.is(scan.manifest.hash, whole.manifest.hash)
    t.true(scan.seen.equals(whole.seen))
    for (let index = 0; index < scan.manifest.count; index++)
      t.deepEqual(await scan.lists.list(index), await whole.lists.list(index))
  })
}

test('what was not seen as it stays is looked at again', async (t) => {
  const { tree, live } = await forest(t)
  const path = join(tree.data, 'b', '2')
  writeFileSync(path, 'just now')
  const { manifest, seen } = await tree.look(false, { live, last: null })
  const fresh = await tree.look(false, null)
  const index = manifest.find('b/2')
  t.is(UnchangedSubtrees.of(fresh, NOTHING)?.isUnchanged(index), fresh.seen.clean(index))
  seen.cleans[index] = 0
  t.false(UnchangedSubtrees.of({ ...fresh, seen }, NOTHING)?.isUnchanged(index))
  t.false(UnchangedSubtrees.of({ ...fresh, seen }, NOTHING)?.isSubtreeUnchanged(0))
})

test('a small file that was written to is read again, whatever its ctime says', async (t) => {
  const { tree, live } = await forest(t)
  const known = { live, last: null }
  t.is((await tree.look(false, known)).filesRead, 0)
  t.is((await tree.look(false, known, { touched: () => only(tree, 'b/in', 'b/in/2') })).filesRead, 1)
})

test('a tree with hard links is looked at as a whole', async (t) => {
  const { tree } = await forest(t)
  linkSync(join(tree.data, 'a', '1'), join(tree.data, 'c', 'first'))
  t.is(UnchangedSubtrees.of(await tree.look(false, null), NOTHING), null)
})
