import test from 'ava'
import { CopyJob } from '../../../agent/mobility/replication/copy-job.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { VirtualClock } from '../../fake/clock.ts'

const volume = { id: 'id1', name: 'data', options: DEFAULT_OPTIONS }

/** A copy of 1,000 bytes in 10 files whose first pass has begun. */
function started() {
  const clock = new VirtualClock()
  const copy = new CopyJob(volume, clock, 60_000)
  return { clock, copy, pass: copy.startPass('h1', 'h1') }
}

function done(bytesDone: number, filesDone: number) {
  return { bytesDone, bytesTotal: 1_000, filesDone, filesTotal: 10 }
}

test('bytes, files, rate and time left can be read while a copy runs', async (t) => {
  const { clock, copy, pass } = started()
  pass.report({ bytesDone: 0, bytesTotal: 0, filesDone: 0, filesTotal: 0 })
  await clock.advance(4_000)
  t.like(copy.view('h2'), { bytesTotal: 0, bytesPerSecond: 0, secondsLeft: null, state: 'running' })
  // An earlier attempt left 400 bytes: they are done, and say nothing of how fast it goes now.
  pass.report(done(400, 4))
  t.like(copy.view('h2'), { bytesDone: 400, bytesPerSecond: 0, secondsLeft: null })
  await clock.advance(2_000)
  pass.report(done(600, 6))
  t.like(copy.view('h2'), {
    ...done(600, 6),
    from: 'h1',
    to: 'h2',
    bytesPerSecond: 100,
    secondsLeft: 4,
  })
})

test('after the end a move says what crossed the network, that of passes that were cut off included', async (t) => {
  const { clock, copy, pass: cut } = started()
  cut.report(done(100, 1))
  await clock.advance(1_000)
  cut.report(done(700, 7))
  copy.endPass()
  t.is(copy.lastPassBytes, 600)
  t.like(copy.view('h2'), { bytesDone: 700, bytesTotal: 1_000, filesDone: 7, secondsLeft: null })
  const whole = copy.startPass('h1', 'h1')
  whole.report(done(1_000, 10))
  whole.moved(300)
  copy.endPass()
  t.is(copy.lastPassBytes, 300)
  copy.end(null)
  t.like(copy.view('h2'), { bytesDone: 900, bytesTotal: 900, filesDone: 10, filesTotal: 10, state: 'done' })
})

test('content that was taken back because its hash was wrong makes no rate below nothing', async (t) => {
  const { clock, copy, pass } = started()
  pass.report(done(500, 5))
  await clock.advance(1_000)
  pass.report(done(400, 4))
  t.like(copy.view('h2'), { bytesDone: 400, bytesPerSecond: 0, secondsLeft: null })
  copy.endPass()
  t.is(copy.lastPassBytes, 0)
})

test('a job that is stopped says why, with a code', (t) => {
  const { copy } = started()
  copy.stop()
  t.true(copy.stopped.aborted)
  t.throws(() => copy.stopped.throwIfAborted(), { code: 'VOLUME_BUSY', message: /"data" was removed while it/ })
})
