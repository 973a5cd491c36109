import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { pino } from 'pino'
import { systemClock } from '../../../agent/clock.ts'
import type { Engine } from '../../../agent/docker/contract.ts'
import type { Guard, PauseReason } from '../../../agent/fence/contract.ts'
import { openFreezerFiles } from '../../../agent/fence/freezer-files.ts'
import { openPauses } from '../../../agent/fence/pauses.ts'
import { bootId } from '../../../agent/sys/boot-id.ts'
import { openFence } from '../../../plugin/fence.ts'
import { MemoryEngine, unreachable } from '../fence/memory-engine.ts'
import { until } from '../until.ts'

const LEASE_MS = 300

async function start() {
  const stack = new AsyncDisposableStack()
  const stateDir = await mkdtemp(join(tmpdir(), 'wherry-fence-'))
  stack.defer(() => rm(stateDir, { recursive: true, force: true }))
  const engine = new MemoryEngine()
  engine.run('a', 'data')
  const log = pino({ level: 'silent' })
  const freezerFiles = openFreezerFiles(stateDir)
  const parts = { engine: engine as unknown as Engine, freezerFiles, clock: systemClock }
  const options = { ...parts, stateDir, leaseMs: LEASE_MS, log }
  return {
    engine,
    /** The plugin's process, a new one each time. */
    open: async () => stack.use(await openFence(options)),
    /** As an agent pauses. */
    pause: async (reason: PauseReason) =>
      (await openPauses({ stateDir, engine, log })).pause([{ container: 'a', volumes: ['id1'], reason }]),
    keepWord: async (word: Guard) =>
      writeFile(join(stateDir, 'guard.json'), JSON.stringify({ boot: await bootId(), guard: word })),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
}

const guard = (untilMs: number): Guard => ({ untilMs, volumes: [{ id: 'id1', name: 'data', epoch: 3 }] })
const inMs = (ms: number) => guard(systemClock.elapsedMs() + ms)

test('promise 6: a plugin that was killed goes on with the last word the one before it heard', async (t) => {
  await using ground = await start()
  await ground.keepWord(inMs(200))
  await ground.open()
  t.is(ground.engine.stateOf('a'), 'running')
  await until(() => ground.engine.stateOf('a') === 'paused')
})

test('promise 6: a word that an agent said is kept for the next plugin', async (t) => {
  await using ground = await start()
  {
    await using first = await ground.open()
    first.heard({ word: 'guard', guard: inMs(LEASE_MS) })
  }
  await sleep(2 * LEASE_MS)
  t.is(ground.engine.stateOf('a'), 'running', 'nobody was there')
  await ground.open()
  await until(() => ground.engine.stateOf('a') === 'paused')
})

test('promise 6: no word makes a lease longer than the setting says', async (t) => {
  await using ground = await start()
  const fence = await ground.open()
  fence.heard({ word: 'guard', guard: inMs(3_600_000) })
  await until(() => ground.engine.stateOf('a') === 'paused')
  t.pass()
})

test('a pause for a checkpoint is resumed when the plugin starts, one for a fence is not', async (t) => {
  await using ground = await start()
  ground.engine.run('b', 'data')
  await ground.pause('checkpoint')
  const fence = await ground.open()
  await until(() => ground.engine.stateOf('a') === 'running')
  await ground.pause('fence')
  fence.ended()
  await sleep(300)
  t.is(ground.engine.stateOf('a'), 'paused')
})

test('a pause for a checkpoint is resumed when the agent has ended, however long the engine is away', async (t) => {
  await using ground = await start()
  const fence = await ground.open()
  await ground.pause('checkpoint')
  let failures = 3
  ground.engine.before = (call) => {
    if (call === 'unpause a' && failures-- > 0) throw unreachable()
  }
  fence.ended()
  await until(() => ground.engine.stateOf('a') === 'running')
  t.is(failures, -1)
})

test('an agent that is alive and says nothing for three leases is killed, once; one that has not spoken yet is not', async (t) => {
  await using ground = await start()
  const fence = await ground.open()
  const kills: number[] = []
  const startMs = performance.now()
  fence.started(
    () => kills.push(performance.now() - startMs),
    () => {},
  )
  await sleep(4 * LEASE_MS)
  t.deepEqual(kills, [])
  for (let i = 0; i < 10; i++) {
    fence.heard({ word: 'alive' })
    await sleep(LEASE_MS / 2)
  }
  t.deepEqual(kills, [])
  await until(() => kills.length > 0)
  await sleep(2 * LEASE_MS)
  t.is(kills.length, 1)
})
