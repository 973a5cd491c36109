import test from 'ava'
import { openTracked } from './fixture.ts'
import { playRounds } from './rounds.ts'

const ROUNDS = 10_500
/** Ways of changing a file that every kernel in question has (test/fixtures/tracked-writer.py). */
const WAYS =
  'write write_much store direct aio uring uring_direct sendfile copy_range splice allocate punch zero collapse insert truncate_down truncate_up truncate_and_back replace rename_over link unlink_open'
const ONLY_XFS = 'clone clone_range'
const BROKEN_ROUNDS = 600
const DROP_EVERY = 10

for (const kind of ['ext4', 'xfs'] as const) {
  test.serial(`${kind}: of ${ROUNDS} rounds of changes of all kinds the tracker misses none`, async (t) => {
    t.timeout(600_000)
    const { tracker, directory, other } = openTracked(t, kind)
    const seed = Date.now() % 1_000_000
    const started = performance.now()
    const outcome = await playRounds(tracker, { directory, other, seed, rounds: ROUNDS })
    const seconds = ((performance.now() - started) / 1000).toFixed(1)
    t.log(`seed ${seed}: ${outcome.rounds} rounds in ${seconds} s`, outcome.done)
    t.log(`told ${outcome.reportedBytes >> 20} MiB, changed ${outcome.changedBytes >> 20} MiB`, tracker.stats)
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

  test.serial(`${kind}: a tracker that drops every ${DROP_EVERY}th event is found out`, async (t) => {
    const { tracker, directory, other } = openTracked(t, kind, { dropEvery: DROP_EVERY })
    const outcome = await playRounds(tracker, { directory, other, seed: 1, rounds: BROKEN_ROUNDS })
    t.log(`${outcome.missed.length} changes missed in ${outcome.rounds} rounds`)
    t.true(outcome.missed.length > 0)
  })
}
