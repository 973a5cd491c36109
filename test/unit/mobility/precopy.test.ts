import test from 'ava'
import { runPreCopyRounds } from '../../../agent/mobility/checkpoint/precopy.ts'
import type { SpoolRound } from '../../../agent/store/contract.ts'
import { calm } from '../store/fixture.ts'

const BUDGET_MS = 500

/** Plays rounds that take so many milliseconds each; the clock does not run between them. Returns how many ran. */
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
  const done = await runPreCopyRounds(
    { store: { spoolRound }, clock },
    'id',
    BUDGET_MS,
    more.sinceMs ?? null,
    calm,
    () => {},
  )
  return { rounds, ...done }
}

test('with a tracker one round is enough: the next one has less time to gather changes', async (t) => {
  // 1.5 s for the changes of 10 s: those of 1.5 s take 225 ms.
  t.deepEqual(await played([1_500, 225, 34], { sinceMs: 90_000 }), { rounds: 1, changed: true, fits: true })
  t.is((await played([1_500, 600, 100], { sinceMs: 95_000 })).rounds, 2)
})

test('without a tracker changed files are read whole: the next round takes as long as this one', async (t) => {
  t.is((await played([1_500, 1_500, 200], { sinceMs: 0, scanned: 'no tracker' })).rounds, 3)
})

test('when the time of the previous round is unknown, the next round takes as long as this one', async (t) => {
  t.is((await played([1_500, 100], {})).rounds, 2)
  t.is((await played([100], {})).rounds, 1)
})

test('rounds end when they do not help, after the maximum, and when nothing changed', async (t) => {
  t.deepEqual(await played([9_000], { sinceMs: 99_000, bytes: () => 7 }), { rounds: 2, changed: true, fits: false })
  t.is((await played([9_000], { sinceMs: 99_000 })).rounds, 8)
  t.like(await played([9_000], { sinceMs: 99_000, changed: false }), { rounds: 1, changed: false })
})
