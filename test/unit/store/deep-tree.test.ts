import { execFileSync } from 'node:child_process'
import { lstatSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { MAX_DEPTH } from '../../../agent/store/manifest/byte-path.ts'
import { type FileSystemKind, fileSystem } from './file-systems.ts'
import { newVolume, storeHost } from './fixture.ts'
import { captured } from './scan/captured.ts'

const DEEP_TREE = new URL('../../fixtures/deep-tree.py', import.meta.url).pathname
const DEEP_HOST = new URL('./deep-host.ts', import.meta.url).pathname
const LEVELS = 2000
const LINKS = 20
/** Node itself takes some 30. */
const OPEN_FILES = 256

function make(root: string, levels: number, nameBytes: number): void {
  execFileSync('python3', [DEEP_TREE, 'make', root, String(levels), String(nameBytes)])
}

/** Takes a volume with a deep tree through its life with two stores in a process that may have few files open. */
async function live(t: ExecutionContext, kind: FileSystemKind, nameBytes: number): Promise<void> {
  const base = fileSystem(t, kind)
  const one = await storeHost(t, join(base, 'one'))
  const v = newVolume()
  await one.store.create(v)
  await one.store[Symbol.asyncDispose]()
  make(one.data(v.id), LEVELS, nameBytes)
  const changed = LEVELS - 100
  const command = [`--nofile=${OPEN_FILES}`, process.execPath, DEEP_HOST, base, v.id, String(changed)]
  const output = execFileSync('prlimit', command, { encoding: 'utf8' })
  const steps = output.trim().split('\n')
  t.deepEqual(
    steps.map((line) => JSON.parse(line)),
    [
      { step: 'moved', complete: true, tree: `${LEVELS} ${nameBytes} ${LEVELS} ${LINKS + 1}` },
      { step: 'moved again', complete: true, filesRead: 1, tree: `${LEVELS} ${nameBytes} ${LEVELS - 1} ${LINKS + 1}` },
      { step: 'verified', damagedCount: 0, filesChecked: LEVELS - 1 },
      { step: 'captured', same: true, filesRead: 0 },
      { step: 'removed', left: [] },
    ],
  )
}

for (const kind of ['xfs', 'btrfs'] as const) {
  test(`${kind}: ${LEVELS} levels are moved, edited, verified and removed with ${OPEN_FILES} open files`, async (t) => {
    await live(t, kind, 3)
  })
}

test(`ext4: so is one of ${LEVELS} levels with names of 255 bytes`, async (t) => {
  await live(t, 'ext4', 255)
})

test('a tree beyond the limit is refused with a short message that says the limit', async (t) => {
  const tree = await captured(t)
  make(tree.data, MAX_DEPTH + 1, 20)
  const error = await t.throwsAsync(tree.capture('quiet'), { code: 'TREE_UNSUPPORTED' })
  t.true(error?.message.includes(`lies more than ${MAX_DEPTH} levels deep`))
  t.true((error?.message.length ?? 0) < 500, `${error?.message.length} characters`)
})

test('a directory moved away while a walk is deep below it is not mistaken for a symlink in its place', async (t) => {
  const tree = await captured(t)
  make(tree.data, 200, 1)
  writeFileSync(join(tree.data, 'd', 'z'), 'after all that is deeper')
  const [top, elsewhere] = [join(tree.data, 'd'), join(tree.directory, 'elsewhere')]
  mkdirSync(elsewhere)
  writeFileSync(join(elsewhere, 'z'), 'not of the tree')
  const pool = tree.poolWith({
    hashFiles: async (...task) => {
      if (lstatSync(top).isDirectory()) {
        renameSync(top, join(tree.data, 'moved'))
        symlinkSync(elsewhere, top)
      }
      return await tree.pool.hashFiles(...task)
    },
  })
  const { complete, manifest } = await tree.capture('live', { pool })
  t.true(complete)
  t.is(manifest.find('d/z'), -1)
  rmSync(top)
  renameSync(join(tree.data, 'moved'), top)
  await t.throwsAsync(tree.capture('quiet', { pool }), { code: 'TREE_CHANGED' })
})
