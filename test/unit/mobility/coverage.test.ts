import test from 'ava'
import { Coverage } from '../../../agent/mobility/checkpoint/coverage.ts'
import type { Checkpoint } from '../../../agent/model/model.ts'

const START = Date.parse('2026-01-01T00:00:00Z')

function checkpoint(seq: number, takenMs = 0): Checkpoint {
  return { epoch: 2, seq, hash: `hash${seq}`, at: new Date(START + takenMs).toISOString(), bytes: 1, files: 1 }
}

/** A coverage at elapsedMs 100,000, one minute after START. Hosts of `alive` send heartbeats. */
function start(former: Checkpoint | null = null) {
  const clock = { nowMs: 100_000, elapsedMs: () => clock.nowMs, now: () => new Date(START + clock.nowMs - 40_000) }
  const alive = new Set(['h2', 'h3'])
  const directory = { stale: false, alive: (host: string) => alive.has(host) }
  return { clock, alive, directory, coverage: new Coverage(clock, directory, former) }
}

test('the newest checkpoint of a living host counts', (t) => {
  const { alive, coverage } = start()
  t.is(coverage.newest, null)
  coverage.remember(checkpoint(1), 90_000)
  coverage.remember(checkpoint(2), 95_000)
  t.true(coverage.learn('h2', 'hash1'))
  t.true(coverage.learn('h3', 'hash2'))
  t.deepEqual(coverage.newest, { epoch: 2, seq: 2, hash: 'hash2', atMs: 95_000 })
  alive.delete('h3')
  t.is(coverage.newest?.seq, 1)
  alive.delete('h2')
  t.is(coverage.newest, null)
})

test('a checkpoint that did not change since covers what is newer than itself', (t) => {
  const { coverage } = start()
  coverage.remember(checkpoint(1), 90_000)
  coverage.remember(checkpoint(1), 99_000)
  coverage.learn('h2', 'hash1')
  t.is(coverage.newest?.atMs, 99_000)
})

test('a checkpoint that is not of this hold is refused, and its host has none', (t) => {
  const { coverage } = start()
  coverage.remember(checkpoint(1), 90_000)
  coverage.learn('h2', 'hash1')
  t.false(coverage.learn('h2', 'other'))
  t.is(coverage.newest, null)
  coverage.learn('h2', 'hash1')
  t.false(coverage.learn('h2', null))
  t.is(coverage.newest, null)
})

test('the checkpoint before the hold counts, by the time on the wall clock unless that was set back', (t) => {
  const former = start(checkpoint(1, 20_000))
  t.true(former.coverage.learn('h2', 'hash1'))
  t.is(former.coverage.newest?.atMs, 60_000)
  const future = start(checkpoint(1, 3_600_000))
  t.true(future.coverage.learn('h2', 'hash1'), 'it is a checkpoint of this hold')
  t.is(future.coverage.newest, null, 'of unknown age')
})

test('while the registry is away, a host lives by its own replies', (t) => {
  const { clock, alive, directory, coverage } = start()
  coverage.remember(checkpoint(1), 90_000)
  coverage.learn('h2', 'hash1')
  coverage.replied('h2', 110_000)
  alive.clear()
  t.is(coverage.newest, null, 'the registry works and knows that the host is away')
  directory.stale = true
  t.is(coverage.newest?.seq, 1)
  clock.nowMs = 110_000
  t.is(coverage.newest, null)
  coverage.replied('h2', 120_000)
  coverage.silent('h2')
  t.is(coverage.newest, null)
})

test('hosts that should have no copy any more do not count, and old checkpoints are forgotten', (t) => {
  const { coverage } = start()
  coverage.remember(checkpoint(1), 90_000)
  coverage.learn('h2', 'hash1')
  coverage.learn('h3', 'hash1')
  coverage.keepOnly(['h3'])
  t.is(coverage.newest?.seq, 1)
  coverage.keepOnly([])
  t.is(coverage.newest, null)
  for (let seq = 2; seq <= 100; seq++) coverage.remember(checkpoint(seq), 90_000 + seq)
  t.false(coverage.learn('h2', 'hash1'))
  t.true(coverage.learn('h2', 'hash99'))
})
