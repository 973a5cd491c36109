import test from 'ava'
import { runPreCopyRounds } from '../../../agent/mobility/checkpoint/precopy.ts'
import type { SpoolRound } from '../../../agent/store/contract.ts'
import { calm } from '../store/fixture.ts'

const BUDGET_MS = 500

/** Rounds of so many milliseconds each, of a store whose clock stands still between them; answers how many were played, and what came of them. */
async function played(
  tookMs: readonly number[],
  more: { sinceMs?: number | null; scanned?: string | null; bytes?: (nth: number) => number; changed?: boolean },
): Promise<{ rounds: number; changed: boolean; fits: boolean }> {
  let nowMs = 100_000
  let rounds = 0
  const clock = { elapsedMs: () => nowMs }
  const spoolRound = async (): Promise<SpoolRound> => {
    nowMs += tookMs[rounds] ?? tookMs.at(-1) ?? 0
    rounds++
    const bytesSpooled = more.bytes?.(rounds) ?? 1_000_000 / rounds
    return { changed: more.changed ?? true, bytesRead: bytesSpooled, bytesSpooled, scanned: more.scanned ?? null }
  }
  const parts = { store: { spoolRound }, clock } as unknown as Parameters<typeof runPreCopyRounds>[0]
  const done = await runPreCopyRounds(parts, 'id', BUDGET_MS, more.sinceMs ?? null, calm, () => {})
  return { rounds, ...done }
}

test('what took long to gather is read in one round, where the tracker says what changed: the next one finds as much less as it has less time', async (t) => {
  // 1.5 s for what gathered in 10 s: in 1.5 s gathers what takes 225 ms.
  t.deepEqual(await played([1_500, 225, 34], { sinceMs: 90_000 }), { rounds: 1, changed: true, fits: true })
  t.is((await played([1_500, 600, 100], { sinceMs: 95_000 })).rounds, 2)
})

test('without a tracker a file is read whole however little of it changed: the next round takes as long as this one', async (t) => {
  t.is((await played([1_500, 1_500, 200], { sinceMs: 0, scanned: 'no tracker' })).rounds, 3)
})

test('when nobody knows since when it gathered, the next round takes as long as this one', async (t) => {
  t.is((await played([1_500, 100], {})).rounds, 2)
  t.is((await played([100], {})).rounds, 1)
})

test('rounds end when they do not help, when there were enough, and when nothing changed', async (t) => {
  t.deepEqual(await played([9_000], { sinceMs: 99_000, bytes: () => 7 }), { rounds: 2, changed: true, fits: false })
  t.is((await played([9_000], { sinceMs: 99_000 })).rounds, 8)
  t.like(await played([9_000], { sinceMs: 99_000, changed: false }), { rounds: 1, changed: false })
})
