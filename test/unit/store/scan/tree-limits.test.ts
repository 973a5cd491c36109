import { closeSync, existsSync, linkSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { openRoot } from '../../../../agent/store/inode/directory.ts'
import { removeTree } from '../../../../agent/store/inode/removal.ts'
import { MAX_DEPTH } from '../../../../agent/store/manifest/byte-path.ts'
import {
  MAX_ENTRIES,
  MAX_MANIFEST_BYTES,
  MAX_NAMES_BYTES,
  TREE_LIMITS,
} from '../../../../agent/store/manifest/format.ts'
import { XATTRS_MAX_BYTES } from '../../../../agent/store/manifest/record-codec.ts'
import { readNames } from '../../../../agent/store/scan/read-directory.ts'
import { temporaryDirectory } from '../fixture.ts'
import { captured } from './captured.ts'

/** Larger than what is read at once: the names are counted. */
const LARGE_BYTES = 2 * 1024 * 1024

for (const [what, make] of [
  ['files', (path: string) => writeFileSync(path, '')],
  ['directories', (path: string) => mkdirSync(path)],
  ['hard links', (path: string, first: string) => (path === first ? writeFileSync(path, '') : linkSync(first, path))],
] as const) {
  test(`a tree of ${what} may have as many entries as the limit says, with the root, and not one more`, async (t) => {
    const tree = await captured(t)
    const limits = { ...TREE_LIMITS, entries: 11 }
    const path = (nth: number) => join(tree.data, String(nth))
    for (let nth = 0; nth < 10; nth++) make(path(nth), path(0))
    t.is((await tree.capture('quiet', { limits })).manifest.count, 11)
    make(path(10), path(0))
    const refused = { code: 'TREE_UNSUPPORTED', message: /data has more than 11 files and directories/ }
    await t.throwsAsync(tree.capture('quiet', { limits }), refused)
    await t.throwsAsync(tree.look(false, null, { limits }), refused, 'a tree in use, from the beginning')
    t.is((await tree.capture('quiet')).manifest.count, 12)
  })
}

test('names and attributes that make a manifest too long are refused', async (t) => {
  const tree = await captured(t)
  for (let nth = 0; nth < 10; nth++) writeFileSync(join(tree.data, `${nth}${'n'.repeat(200)}`), '')
  const refused = { code: 'TREE_UNSUPPORTED', message: /2000 bytes/ }
  await t.throwsAsync(tree.look(true, null, { limits: { ...TREE_LIMITS, manifestBytes: 2_000 } }), refused)
  t.is((await tree.look(true, null, { limits: { ...TREE_LIMITS, manifestBytes: 4_000 } })).manifest.count, 11)
})

test('the names of a directory are counted while they are read', async (t) => {
  const path = await temporaryDirectory(t)
  for (let nth = 0; nth < 3_000; nth++) writeFileSync(join(path, String(nth)), '')
  const fd = openRoot(path)
  t.teardown(() => closeSync(fd))
  t.deepEqual(await readNames(fd, LARGE_BYTES), await readNames(fd, 0))
  t.is((await readNames(fd, LARGE_BYTES, { ...TREE_LIMITS, entries: 3_000 })).length, 3_000)
  await t.throwsAsync(readNames(fd, LARGE_BYTES, { ...TREE_LIMITS, entries: 2_999 }), { message: /2,999/ })
  await t.throwsAsync(readNames(fd, LARGE_BYTES, { ...TREE_LIMITS, namesBytes: 60_000 }), { message: /60000/ })
})

test('a directory with more subdirectories than are remembered at a time is removed', async (t) => {
  const path = join(await temporaryDirectory(t), 'tree')
  for (let nth = 0; nth < 10_100; nth++) mkdirSync(join(path, String(nth)), { recursive: true })
  closeSync(openSync(join(path, '7', 'file'), 'w'))
  closeSync(openSync(join(path, 'file'), 'w'))
  await removeTree(path)
  t.false(existsSync(path))
})

test('docs/checkpoints.md has the limits of a tree', (t) => {
  const page = readFileSync(new URL('../../../../docs/checkpoints.md', import.meta.url), 'utf8')
  for (const [limit, shown] of [
    ['MAX_ENTRIES', `${MAX_ENTRIES / 1_000_000} million`],
    ['MAX_MANIFEST_BYTES', `${MAX_MANIFEST_BYTES / 1024 ** 3} GiB`],
    ['MAX_NAMES_BYTES', `${MAX_NAMES_BYTES / 1024 ** 2} MiB`],
    ['MAX_DEPTH', MAX_DEPTH.toLocaleString('en')],
    ['XATTRS_MAX_BYTES', `${XATTRS_MAX_BYTES / 1024 ** 2} MiB`],
  ]) {
    t.regex(page, new RegExp(`^\\| .* \\| ${shown} \\| \`${limit}\``, 'm'))
  }
})
