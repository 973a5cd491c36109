import test from 'ava'
import { Schedule } from '../../../agent/mobility/checkpoint/schedule.ts'
import type { VolumeOptions } from '../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'

const INTERVAL_MS = 10_000

/** A schedule that starts at 0, and its clock. */
function start(checkpointMs: VolumeOptions['checkpointMs'] = INTERVAL_MS) {
  const clock = { nowMs: 0, elapsedMs: () => clock.nowMs }
  const schedule = new Schedule('v1', { ...DEFAULT_OPTIONS, checkpointMs }, clock)
  const isDueAt = (ms: number) => {
    clock.nowMs = ms
    return schedule.isDue
  }
  return { clock, schedule, isDueAt }
}

test('a checkpoint is due one interval after the last one began', (t) => {
  const { schedule, isDueAt } = start()
  t.false(isDueAt(9_999))
  t.true(isDueAt(10_000))
  schedule.next(10_000)
  t.false(isDueAt(19_999))
  t.true(isDueAt(20_000))
})

test('a failed checkpoint is retried with back-off, and a success ends it', (t) => {
  const { schedule, isDueAt } = start()
  schedule.failed(false)
  schedule.next(10_000)
  t.is(schedule.failures, 1)
  t.false(isDueAt(29_999))
  t.true(isDueAt(30_000))
  schedule.failed(false)
  schedule.next(30_000)
  t.false(isDueAt(69_999))
  t.true(isDueAt(70_000))
  schedule.succeeded()
  schedule.next(70_000)
  t.is(schedule.failures, 0)
  t.true(isDueAt(80_000))
})

test('a tree that can never be captured is tried every five minutes at least, and any other failure every minute', (t) => {
  const { schedule, isDueAt } = start()
  for (let times = 0; times < 10; times++) schedule.failed(true)
  schedule.next(0)
  t.false(isDueAt(299_999))
  t.true(isDueAt(300_000))
  schedule.failed(false)
  schedule.next(300_000)
  t.true(isDueAt(360_000))
})

test('another interval moves the next checkpoint, but no back-off', (t) => {
  const { schedule, isDueAt } = start()
  schedule.setInterval(4_000)
  t.is(schedule.intervalMs, 4_000)
  t.true(isDueAt(4_000))
  schedule.failed(false)
  schedule.next(4_000)
  schedule.setInterval(60_000)
  t.false(isDueAt(11_999))
  t.true(isDueAt(12_000))
})

test('pauses that exceed the budget against the estimate back off, while rounds keep their pace', (t) => {
  const { clock, schedule, isDueAt } = start()
  t.true(schedule.mayPauseAgainstEstimate)
  schedule.pauseExceeded(10_000)
  schedule.failed(false)
  schedule.next(10_000)
  t.false(isDueAt(19_999))
  t.true(isDueAt(20_000), 'the next rounds')
  t.false(schedule.mayPauseAgainstEstimate)
  clock.nowMs = 30_000
  t.true(schedule.mayPauseAgainstEstimate)
  schedule.pauseExceeded(30_000)
  clock.nowMs = 69_999
  t.false(schedule.mayPauseAgainstEstimate)
  clock.nowMs = 70_000
  t.true(schedule.mayPauseAgainstEstimate)
  schedule.pauseFits()
  schedule.failed(false)
  schedule.next(70_000)
  t.false(isDueAt(80_000), 'any other failure backs off')
})

test('the demand is the mean cost, without the first checkpoint', (t) => {
  const { schedule } = start()
  schedule.account(60_000)
  t.deepEqual(schedule.demand, { key: 'v1', targetMs: INTERVAL_MS, costMs: 0 })
  schedule.account(1_000)
  t.is(schedule.demand.costMs, 1_000)
  schedule.account(3_000)
  t.is(schedule.demand.costMs, 2_000)
})

test('checkpoint=auto asks for less while files are read whole, and tells each change of that once', (t) => {
  const { schedule } = start('auto')
  t.is(schedule.demand.targetMs, 10_000)
  t.is(schedule.wholeFiles, null, 'not known yet')
  t.true(schedule.noteWholeFiles(null))
  t.false(schedule.noteWholeFiles(null))
  t.is(schedule.demand.targetMs, 2_000)
  t.true(schedule.noteWholeFiles('events were lost'))
  t.is(schedule.wholeFiles, 'events were lost')
  t.is(schedule.demand.targetMs, 10_000)
})
