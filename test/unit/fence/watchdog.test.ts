import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { pino } from 'pino'
import type { Guard, Pause } from '../../../agent/fence/contract.ts'
import { openPauses } from '../../../agent/fence/pauses.ts'
import { createWatchdog } from '../../../agent/fence/watchdog.ts'
import { VirtualClock } from '../../fake/clock.ts'
import { engineUnreachable } from '../../fake/engine.ts'
import { MemoryEngine } from '../../fake/memory-engine.ts'

const LEASE_MS = 8_000

async function start() {
  const stack = new AsyncDisposableStack()
  const stateDir = await mkdtemp(join(tmpdir(), 'wherry-watchdog-'))
  stack.defer(() => rm(stateDir, { recursive: true, force: true }))
  const engine = new MemoryEngine()
  const log = pino({ level: 'silent' })
  const pauses = await openPauses({ stateDir, engine, log })
  const clock = new VirtualClock()
  // The clock is virtual, the notes' disk is not: it stops while the watchdog waits for it.
  let waiting = 0
  const counted = <T>(work: Promise<T>): Promise<T> => {
    waiting += 1
    return work.finally(() => {
      waiting -= 1
    })
  }
  const watched = {
    resume: pauses.resume,
    kill: pauses.kill,
    all: () => counted(pauses.all()),
    pause: (list: readonly Pause[]) => counted(pauses.pause(list)),
  }
  const watchdog = stack.use(createWatchdog({ pauses: watched, engine, clock, log }))
  stack.defer(async () => {
    await clock.advance(0)
  })
  const pass = async (ms: number) => {
    for (let left = ms; left > 0; left -= 50) {
      await clock.advance(Math.min(50, left))
      while (waiting > 0) {
        await sleep(1)
        await clock.advance(0)
      }
    }
  }
  const guard = (untilMs: number, ...names: string[]): Guard => ({
    untilMs,
    volumes: names.map((name) => ({ id: `id${name}`, name, epoch: 1 })),
  })
  return { engine, pauses, clock, watchdog, pass, guard, [Symbol.asyncDispose]: () => stack.disposeAsync() }
}

test('promise 6: containers with guarded volumes are paused at the end of the lease; others never', async (t) => {
  await using ground = await start()
  ground.engine.run('a', 'data')
  ground.engine.run('b', 'data', 'more')
  ground.engine.run('c', 'other')
  ground.watchdog.guard(ground.guard(LEASE_MS, 'data', 'more'))
  await ground.pass(LEASE_MS - 50)
  t.deepEqual(ground.engine.calls, [])
  await ground.pass(200)
  t.deepEqual(
    ['a', 'b', 'c'].map((id) => ground.engine.stateOf(id)),
    ['paused', 'paused', 'running'],
  )
  const noted = await ground.pauses.all()
  t.deepEqual(noted.map(({ container, volumes }) => [container, volumes.toSorted()]).toSorted(), [
    ['a', ['iddata']],
    ['b', ['iddata', 'idmore']],
  ])
})

test('promise 6: as long as guards arrive in time, nothing is paused', async (t) => {
  await using ground = await start()
  ground.engine.run('a', 'data')
  for (let second = 0; second < 60; second++) {
    ground.watchdog.guard(ground.guard(ground.clock.elapsedMs() + LEASE_MS, 'data'))
    await ground.pass(1_000)
  }
  t.deepEqual(ground.engine.calls, [])
})

test('promise 6: a machine that slept past the end of its lease pauses at once when it wakes', async (t) => {
  await using ground = await start()
  ground.engine.run('a', 'data')
  ground.watchdog.guard(ground.guard(-3_600_000, 'data'))
  await ground.pass(150)
  t.is(ground.engine.stateOf('a'), 'paused')
})

test('promise 6: what could not be paused is tried again, and what starts later is paused too', async (t) => {
  await using ground = await start()
  ground.engine.run('a', 'data')
  let failures = 3
  ground.engine.before = (call) => {
    if (call === 'pause a' && failures-- > 0) throw engineUnreachable()
  }
  ground.watchdog.guard(ground.guard(0, 'data'))
  await ground.pass(1_200)
  t.is(ground.engine.stateOf('a'), 'paused')
  ground.engine.run('late', 'data')
  await ground.pass(300)
  t.is(ground.engine.stateOf('late'), 'paused')
  await ground.pass(40_000)
  ground.engine.set('a', 'running')
  await ground.pass(1_100)
  t.is(ground.engine.stateOf('a'), 'paused', 'also a minute later')
})

test('a container that an operator had paused is left alone by a fence', async (t) => {
  await using ground = await start()
  ground.engine.run('a', 'data')
  ground.engine.set('a', 'paused')
  ground.watchdog.guard(ground.guard(0, 'data'))
  await ground.pass(1_000)
  t.deepEqual(ground.engine.calls, [])
  t.deepEqual(await ground.pauses.all(), [])
})

test('a newer guard ends the fence and resumes nothing; its own end fences again', async (t) => {
  await using ground = await start()
  ground.engine.run('a', 'data')
  ground.watchdog.guard(ground.guard(0, 'data'))
  await ground.pass(300)
  t.is(ground.engine.stateOf('a'), 'paused')
  ground.watchdog.guard(ground.guard(ground.clock.elapsedMs() + LEASE_MS, 'data'))
  await ground.pass(300)
  t.is(ground.engine.stateOf('a'), 'paused')
  await ground.pauses.resume(() => true)
  await ground.pass(LEASE_MS - 1_000)
  t.is(ground.engine.stateOf('a'), 'running')
  await ground.pass(1_000)
  t.is(ground.engine.stateOf('a'), 'paused')
})
