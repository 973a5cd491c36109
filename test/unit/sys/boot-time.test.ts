import { execFileSync } from 'node:child_process'
import { uptime } from 'node:os'
import test from 'ava'
import { systemClock } from '../../../agent/runtime/clock.ts'

const CLOCK = new URL('../../../agent/runtime/clock.ts', import.meta.url)
const PRINT = `import { systemClock } from '${CLOCK}'; console.log(systemClock.elapsedMs())`

test('the clock of the lease is the time since boot, and every process of the host reads the same', (t) => {
  const beforeMs = systemClock.elapsedMs()
  const other = execFileSync(process.execPath, ['--input-type=module', '--eval', PRINT], { encoding: 'utf8' })
  const afterMs = systemClock.elapsedMs()
  const otherMs = Number(other)
  t.true(beforeMs < otherMs && otherMs < afterMs, `${beforeMs} ${otherMs} ${afterMs}`)
  // /proc/uptime has hundredths of a second.
  t.true(Math.abs(uptime() * 1_000 - systemClock.elapsedMs()) < 50)
})

test('the clock only goes forward, and is cheap enough for thousands of calls a second', (t) => {
  const calls = 100_000
  const startedMs = performance.now()
  let last = 0
  for (let nth = 0; nth < calls; nth++) {
    const now = systemClock.elapsedMs()
    if (now < last) t.fail(`${now} after ${last}`)
    last = now
  }
  const tookMs = performance.now() - startedMs
  t.log(`${((tookMs / calls) * 1_000).toFixed(2)} us a call`)
  t.true(tookMs < 2_000, `${tookMs} ms`)
})
