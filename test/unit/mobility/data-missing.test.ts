import test from 'ava'
import { dataMissing } from '../../../agent/mobility/hold/errors.ts'
import type { MoveView } from '../../../agent/mobility/volume-view.ts'

const RUNNING: MoveView = {
  ...{ volume: 'data', id: 'ID', from: 'h1', to: 'h2', startedAt: '2026-01-02T03:04:05.678Z', state: 'running' },
  ...{ bytesDone: 0, bytesTotal: 0, filesDone: 0, filesTotal: 0, bytesPerSecond: 0 },
  ...{ secondsLeft: null, error: null, seconds: 15 },
}

function said(view: Partial<MoveView>): string {
  return dataMissing('data', 'h2', { lastError: null, from: 'h1', isAway: false, view: { ...RUNNING, ...view } })
    .message
}

test('promise 9: a mount that waits says how far the copy is, in files where there are no bytes', (t) => {
  t.regex(said({}), /"data" is about to be copied to this host from h1/)
  t.regex(said({ filesDone: 143_360, filesTotal: 500_000 }), /: 143360 of 500000 files \(28 %\), time left unknown\.$/)
  const both = { bytesDone: 5_000_000, bytesTotal: 10_000_000, filesDone: 3, filesTotal: 10, secondsLeft: 5 }
  t.regex(said(both), /: 5\.0 of 10\.0 MB \(50 %\), 3 of 10 files, about 5 s left\.$/)
})
