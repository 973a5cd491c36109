import test from 'ava'
import { ChangeLog, WHOLE_FILE } from '../../../../agent/store/tracker/change-log.ts'

const BLOCK = 16_384
const FILE = 5n

function watching(limits?: { file: number; all: number }): ChangeLog {
  const log = new ChangeLog(limits)
  log.added('v', log.watch('v', new Set([FILE])).fresh)
  return log
}

/** A cut that finds these blocks. */
function cut(log: ChangeLog, ...blocks: number[]): number {
  const cursor = log.nextCut()
  for (const block of blocks) log.note(FILE, block)
  return cursor
}

test('an answer has what came after the cursor, sorted and joined', (t) => {
  const log = watching()
  const first = cut(log, 9)
  const second = cut(log, 4, 2, 3, 7)
  const third = cut(log, 3)
  t.deepEqual(log.changes(FILE, first), [
    { offset: 2 * BLOCK, length: 3 * BLOCK },
    { offset: 7 * BLOCK, length: BLOCK },
  ])
  t.deepEqual(log.changes(FILE, second), [{ offset: 3 * BLOCK, length: BLOCK }])
  t.deepEqual(log.changes(FILE, third), [])
  // Asking consumes nothing.
  t.is(log.changes(FILE, first)?.length, 2)
})

test('a cursor that is not there yet has no answer', (t) => {
  const log = watching()
  t.is(log.changes(FILE, cut(log) + 1), null)
})

test('a file watched between two cuts is unknown since the one before, and known since the next', (t) => {
  const log = new ChangeLog()
  const before = log.nextCut()
  log.added('v', log.watch('v', new Set([FILE])).fresh)
  t.is(log.changes(FILE, before), null)
  const next = cut(log, 1)
  t.is(log.changes(FILE, before), null)
  t.deepEqual(log.changes(FILE, next), [])
  cut(log, 1)
  t.deepEqual(log.changes(FILE, next), [{ offset: BLOCK, length: BLOCK }])
})

test('a file that nobody watches is unknown, and so is one that could not be watched', (t) => {
  const log = new ChangeLog()
  t.deepEqual(log.watch('v', new Set([FILE])).fresh, [FILE])
  t.is(log.changes(FILE, cut(log)), null)
  // Next time it is tried again.
  t.deepEqual(log.watch('v', new Set([FILE])).fresh, [FILE])
})

test('the whole file: for older cursors all, for newer ones the blocks', (t) => {
  const log = watching()
  const first = cut(log, 1)
  const whole = cut(log, 2, WHOLE_FILE)
  cut(log, 3)
  t.is(log.changes(FILE, first), 'all')
  t.deepEqual(log.changes(FILE, whole), [{ offset: 3 * BLOCK, length: BLOCK }])
})

test('lost events make every older cursor unknown, for all files', (t) => {
  const log = watching()
  const before = cut(log, 1)
  const losing = cut(log, 2)
  log.lose()
  t.is(log.changes(FILE, before), null)
  t.deepEqual(log.changes(FILE, losing), [])
  t.is(log.keptBlocks, 0)
  cut(log, 3)
  t.is(log.changes(FILE, before), null)
  t.deepEqual(log.changes(FILE, losing), [{ offset: 3 * BLOCK, length: BLOCK }])
})

test('what two owners watch stays until neither wants it', (t) => {
  const log = watching()
  t.deepEqual(log.watch('w', new Set([FILE, 6n])).fresh, [6n])
  log.added('w', [6n])
  const first = cut(log)
  t.deepEqual(log.forget('v'), [])
  cut(log, 1)
  t.deepEqual(log.changes(FILE, first), [{ offset: BLOCK, length: BLOCK }])
  t.deepEqual(log.watch('w', new Set([6n])).given, [FILE])
  t.is(log.changes(FILE, first), null)
  t.deepEqual(log.forget('w'), [6n])
  t.is(log.watchedInodes, 0)
  t.is(log.keptBlocks, 0)
})

test('a file given up and watched again is known only since the cut after that', (t) => {
  const log = watching()
  const first = cut(log)
  log.watch('v', new Set())
  log.added('v', log.watch('v', new Set([FILE])).fresh)
  t.is(log.changes(FILE, first), null)
  t.deepEqual(log.changes(FILE, cut(log)), [])
})

test('what an owner released is forgotten, once every owner of the file has', (t) => {
  const log = watching()
  log.watch('w', new Set([FILE]))
  const first = cut(log, 1)
  const second = cut(log, 2, 3)
  cut(log, 3)
  log.release('v', second)
  t.is(log.keptBlocks, 3)
  t.is(log.changes(FILE, first)?.length, 1)
  log.release('w', second)
  t.is(log.keptBlocks, 1)
  t.is(log.changes(FILE, first), null)
  t.deepEqual(log.changes(FILE, second), [{ offset: 3 * BLOCK, length: BLOCK }])
})

test('a release forgets "all" as well, and goes no further than the last cut', (t) => {
  const log = watching()
  const whole = cut(log, WHOLE_FILE)
  log.release('v', whole + 100)
  t.deepEqual(log.changes(FILE, whole), [])
  cut(log, 1)
  t.deepEqual(log.changes(FILE, whole), [{ offset: BLOCK, length: BLOCK }])
})

test('more blocks than a list is worth are "all"', (t) => {
  const log = watching({ file: 3, all: 100 })
  const first = cut(log)
  cut(log, 1, 2, 3)
  t.deepEqual(log.changes(FILE, first), [{ offset: BLOCK, length: 3 * BLOCK }])
  const more = cut(log, 4)
  t.is(log.changes(FILE, first), 'all')
  t.deepEqual(log.changes(FILE, more), [])
  t.is(log.keptBlocks, 0)
})

test('memory for all files together has an end too', (t) => {
  const log = watching({ file: 100, all: 2 })
  log.added('w', log.watch('w', new Set([6n])).fresh)
  const first = cut(log, 1, 2)
  log.note(6n, 1)
  t.is(log.changes(6n, 0), null)
  t.is(log.keptBlocks, 2)
  cut(log)
  log.note(6n, 1)
  t.is(log.changes(6n, first), 'all')
})
