import test from 'ava'
import { CopyJob } from '../../../agent/mobility/copy-job.ts'
import { DEFAULT_OPTIONS } from '../../../agent/options.ts'
import { VirtualClock } from './clock.ts'

const volume = { id: 'id1', name: 'data', options: DEFAULT_OPTIONS }

function job() {
  const clock = new VirtualClock()
  return { clock, job: new CopyJob(volume, clock, 60_000) }
}

test('bytes, files, rate and time left can be read while a copy runs', async (t) => {
  const { clock, job: copy } = job()
  const pass = copy.startPass('h1')
  pass.report({ bytesDone: 0, bytesTotal: 0, filesDone: 0, filesTotal: 0 })
  await clock.advance(4_000)
  t.like(copy.view('h2'), { bytesTotal: 0, bytesPerSecond: 0, secondsLeft: null, state: 'running' })
  // An earlier attempt left 400 bytes: they are done, and say nothing of how fast it goes now.
  pass.report({ bytesDone: 400, bytesTotal: 1_000, filesDone: 4, filesTotal: 10 })
  t.like(copy.view('h2'), { bytesDone: 400, bytesPerSecond: 0, secondsLeft: null })
  await clock.advance(2_000)
  pass.report({ bytesDone: 600, bytesTotal: 1_000, filesDone: 6, filesTotal: 10 })
  t.like(copy.view('h2'), {
    from: 'h1',
    to: 'h2',
    bytesDone: 600,
    bytesTotal: 1_000,
    filesDone: 6,
    filesTotal: 10,
    bytesPerSecond: 100,
    secondsLeft: 4,
  })
})

test('after the end a move says what crossed the network, that of passes that were cut off included', async (t) => {
  const { clock, job: copy } = job()
  const cut = copy.startPass('h1')
  cut.report({ bytesDone: 100, bytesTotal: 1_000, filesDone: 1, filesTotal: 10 })
  await clock.advance(1_000)
  cut.report({ bytesDone: 700, bytesTotal: 1_000, filesDone: 7, filesTotal: 10 })
  copy.endPass()
  t.is(copy.lastPassBytes, 600)
  t.like(copy.view('h2'), { bytesDone: 700, bytesTotal: 1_000, filesDone: 7, secondsLeft: null })
  const whole = copy.startPass('h1')
  whole.report({ bytesDone: 1_000, bytesTotal: 1_000, filesDone: 10, filesTotal: 10 })
  whole.moved(300)
  copy.endPass()
  t.is(copy.lastPassBytes, 300)
  copy.end(null)
  t.like(copy.view('h2'), { bytesDone: 900, bytesTotal: 900, filesDone: 10, filesTotal: 10, state: 'done' })
})

test('content that was taken back because its hash was wrong makes no rate below nothing', async (t) => {
  const { clock, job: copy } = job()
  const pass = copy.startPass('h1')
  pass.report({ bytesDone: 500, bytesTotal: 1_000, filesDone: 5, filesTotal: 10 })
  await clock.advance(1_000)
  pass.report({ bytesDone: 400, bytesTotal: 1_000, filesDone: 4, filesTotal: 10 })
  t.like(copy.view('h2'), { bytesDone: 400, bytesPerSecond: 0, secondsLeft: null })
  copy.endPass()
  t.is(copy.lastPassBytes, 0)
})
