import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, renameSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { TreeChanges } from '../../../../agent/store/changes/tree-changes.ts'
import { judgeAudit } from '../../../../agent/store/scan/judge-audit.ts'
import type { SavedTree } from '../../../../agent/store/snapshot/saved-snapshot.ts'
import type { Touched, Tracker } from '../../../../agent/store/tracker/contract.ts'
import { captured } from './captured.ts'
import { LARGE_BYTES, TICKS_MS } from './contents.ts'

const audit = { blocks: 0, files: 0 }
const NOTHING: Touched = { has: () => false, wasWritten: () => false }
const EVERYTHING: Touched = { has: () => true, wasWritten: () => false }

async function kept(t: ExecutionContext) {
  const tree = await captured(t)
  for (const name of ['small', 'other']) writeFileSync(join(tree.data, name), name)
  writeFileSync(join(tree.data, 'large'), Buffer.alloc(LARGE_BYTES, 'l'))
  mkdirSync(join(tree.data, 'sub'))
  await sleep(TICKS_MS)
  const last: SavedTree = await tree.capture('quiet')
  await sleep(TICKS_MS)
  const look = (touched: Touched | null, audited = true) =>
    tree.look(false, { live: null, last }, { touched: () => touched, ...(audited ? { audit } : {}) })
  return { tree, last, look, path: (name: string) => join(tree.data, name) }
}

/** A tracker that answers the same to every question about what was touched. */
function tracker(touched: () => Touched | null): Tracker {
  let cuts = 0
  const stats = { watchedInodes: 0, refusedInodes: 0, drainedBlocks: 0, keptBlocks: 0, losses: 0 }
  return {
    watch: () => undefined,
    unwatch: () => undefined,
    cut: () => ++cuts,
    settle: async () => undefined,
    changes: () => null,
    lossSince: () => null,
    touched,
    release: () => undefined,
    stats,
    disable: () => undefined,
    failure: null,
    [Symbol.dispose]: () => undefined,
  }
}

/** Another state of the same inode, and which entries show it. */
const CHANGES: Record<string, readonly [(path: (name: string) => string) => void, readonly string[]]> = {
  'a mode': [(path) => chmodSync(path('small'), 0o600), ['small']],
  'an attribute': [(path) => execFileSync('setfattr', ['-n', 'user.a', '-v', 'b', path('large')]), ['large']],
  "a directory's mode": [(path) => chmodSync(path('sub'), 0o700), ['sub']],
  'a name in a directory': [(path) => writeFileSync(join(path('sub'), 'new'), ''), ['sub']],
}

for (const [what, [change, names]] of Object.entries(CHANGES)) {
  test(`promise 5: ${what} that changed and was told of by nobody is a suspect of the audit`, async (t) => {
    const { last, look, path } = await kept(t)
    t.deepEqual((await look(NOTHING)).suspects, [], 'nothing has changed')
    change(path)
    const { suspects } = await look(NOTHING)
    t.deepEqual(
      suspects.map(({ name, since }) => [name, since]),
      names.map((name) => [name, last]),
    )
    t.deepEqual((await look(EVERYTHING)).suspects, [])
    t.deepEqual((await look(null)).suspects, [], 'nobody says that it knows')
    t.deepEqual((await look(NOTHING, false)).suspects, [], 'nothing is audited')
  })
}

test('another inode under the same name is no suspect', async (t) => {
  const { look, path } = await kept(t)
  renameSync(path('other'), path('small'))
  unlinkSync(path('large'))
  const { suspects } = await look(NOTHING)
  t.false(suspects.some(({ name }) => ['small', 'large'].includes(name)))
})

test('promise 5: a change that is told of a moment later is explained, one that is not is an alarm', async (t) => {
  const { last, look, path } = await kept(t)
  chmodSync(path('small'), 0o600)
  const scan = await look(NOTHING)
  t.is(scan.suspects.length, 1)
  let touched: Touched = NOTHING
  const changes = new TreeChanges({ tracker: tracker(() => touched) }, 'v')
  changes.know(last, 1)
  changes.know(scan, 2)
  const error = await t.throwsAsync(judgeAudit(scan, changes, 'data'), { code: 'CHANGES_MISSED' })
  t.regex(error?.message ?? '', /"small" in volume data had changed/)
  const late = judgeAudit(scan, changes, 'data')
  touched = EVERYTHING
  await t.notThrowsAsync(late)
})
