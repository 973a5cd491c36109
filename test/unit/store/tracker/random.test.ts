import { statSync } from 'node:fs'
import test from 'ava'
import { InodeTracker } from '../../../../agent/store/tracker/inode-tracker.ts'
import { openKernelPart } from '../../../../agent/store/tracker/kernel-part.ts'
import { buildObject, mountTwice, openTracked } from './fixture.ts'
import { playRounds } from './rounds.ts'

const ROUNDS = 10_500
/** Ways of changing a file that every kernel in question has (test/fixtures/tracked-writer.py). */
const WAYS =
  'write write_much store direct aio uring uring_direct sendfile copy_range splice allocate punch zero collapse ' +
  'insert truncate_down truncate_up truncate_and_back replace replace_sparse rename_over link unlink_open'
const ONLY_XFS = 'clone clone_range'
/**
 * Programs of which each alone must be missed. xfs_on_zero notes what xfs_on_free does as well.
 * The ends of direct writes and of inodes are in kernel.test.ts.
 */
const NEEDED = {
  ext4: ['on_dirty', 'ext4_on_transaction', 'ext4_on_map'],
  xfs: ['xfs_on_setattr', 'xfs_on_truncate', 'xfs_on_free', 'xfs_on_insert', 'xfs_on_remap'],
} as const
const BROKEN_ROUNDS = 600
const DROP_EVERY = 10

const mebibytes = (bytes: number) => Math.round(bytes / 2 ** 20)

for (const kind of ['ext4', 'xfs'] as const) {
  test.serial(`${kind}: of ${ROUNDS} rounds of changes of all kinds the tracker misses none`, async (t) => {
    t.timeout(600_000)
    const { tracker, directory, other } = openTracked(t, kind)
    const seed = Date.now() % 1_000_000
    const started = performance.now()
    const outcome = await playRounds(tracker, { directory, other, seed, rounds: ROUNDS })
    const seconds = ((performance.now() - started) / 1000).toFixed(1)
    t.log(`seed ${seed}: ${outcome.rounds} rounds in ${seconds} s`, outcome.done)
    t.log(`told ${mebibytes(outcome.reportedBytes)} MiB, changed ${mebibytes(outcome.changedBytes)} MiB`, tracker.stats)
    t.deepEqual(outcome.missed, [])
    const ways = kind === 'xfs' ? `${WAYS} ${ONLY_XFS}` : WAYS
    t.deepEqual(
      ways.split(' ').filter((way) => outcome.done[way] === undefined),
      [],
    )
    // Null for everything would miss nothing either.
    t.is(outcome.unknown, 0)
    t.is(tracker.stats.losses, 0)
  })

  for (const without of NEEDED[kind]) {
    test.serial(`${kind}: without ${without} the rounds find changes missing`, async (t) => {
      const { directory, other, root } = mountTwice(t, kind)
      const { dev } = statSync(root)
      const [major, minor] = [dev >> 8, dev & 0xff]
      const settings = { fileSystem: kind, major, minor, dropEvery: 0, without, has: () => true } as const
      using tracker = new InodeTracker(openKernelPart(buildObject(), settings), { tellsTouched: true })
      const { missed } = await playRounds(tracker, { directory, other, seed: 5, rounds: BROKEN_ROUNDS })
      t.true(missed.length > 0)
    })
  }

  test.serial(`${kind}: a tracker that drops every ${DROP_EVERY}th event is found out`, async (t) => {
    const { tracker, directory, other } = openTracked(t, kind, { dropEvery: DROP_EVERY })
    const outcome = await playRounds(tracker, { directory, other, seed: 1, rounds: BROKEN_ROUNDS })
    t.log(`${outcome.missed.length} changes missed in ${outcome.rounds} rounds`)
    t.true(outcome.missed.length > 0)
  })
}
