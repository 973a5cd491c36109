import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { pino } from 'pino'
import type { Guard } from '../../../agent/fence/contract.ts'
import { openFreezerFiles } from '../../../agent/fence/freezer-files.ts'
import { openFrozenNotes } from '../../../agent/fence/frozen-notes.ts'
import { systemClock } from '../../../agent/runtime/clock.ts'
import { bootId } from '../../../agent/sys/boot-id.ts'
import { openFence } from '../../../plugin/watchdog.ts'
import { MemoryEngine } from '../../fake/memory-engine.ts'
import { ControlGroup } from '../fence/control-group.ts'
import { untilTrue } from '../until.ts'

const LEASE_MS = 300

async function start() {
  const stack = new AsyncDisposableStack()
  const stateDir = await mkdtemp(join(tmpdir(), 'wherry-fence-'))
  stack.defer(() => rm(stateDir, { recursive: true, force: true }))
  const engine = new MemoryEngine()
  engine.run('a', 'data')
  const log = pino({ level: 'silent' })
  const options = { engine, clock: systemClock, stateDir, leaseMs: LEASE_MS, log }
  return {
    engine,
    notes: await openFrozenNotes(stateDir),
    /** The plugin's process, a new one each time. */
    open: async (freezerFiles = openFreezerFiles(stateDir)) => stack.use(await openFence({ ...options, freezerFiles })),
    keepGuard: async (guard: Guard) =>
      writeFile(join(stateDir, 'guard.json'), JSON.stringify({ boot: await bootId(), guard })),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
}

const guard = (untilMs: number): Guard => ({ untilMs, volumes: [{ id: 'id1', name: 'data', epoch: 3 }] })
const inMs = (ms: number) => guard(systemClock.elapsedMs() + ms)

test('promise 6: a plugin that was killed is followed by one with its last guard', async (t) => {
  await using ground = await start()
  await ground.keepGuard(inMs(200))
  await ground.open()
  t.is(ground.engine.stateOf('a'), 'running')
  await untilTrue(() => ground.engine.stateOf('a') === 'paused')
})

test('promise 6: a guard that an agent sent is kept for the next plugin', async (t) => {
  await using ground = await start()
  {
    await using first = await ground.open()
    first.heard({ kind: 'guard', guard: inMs(LEASE_MS) })
  }
  await sleep(2 * LEASE_MS)
  t.is(ground.engine.stateOf('a'), 'running', 'nobody was there')
  await ground.open()
  await untilTrue(() => ground.engine.stateOf('a') === 'paused')
})

test('promise 6: no guard makes a lease longer than the setting says', async (t) => {
  await using ground = await start()
  const fence = await ground.open()
  fence.heard({ kind: 'guard', guard: inMs(3_600_000) })
  await untilTrue(() => ground.engine.stateOf('a') === 'paused')
  t.pass()
})

test('promise 6: a fence ends a freeze, so that Docker can pause what is frozen', async (t) => {
  await using ground = await start()
  await using group = await ControlGroup.make('v2')
  ground.engine.run(group.container, 'data')
  const fence = await ground.open(openFreezerFiles(group.root))
  const said: unknown[] = []
  fence.started(
    () => {},
    (message) => said.push(message),
  )
  const request = { id: '1', containers: [group.container], budgetMs: 3_600_000 }
  fence.heard({ kind: 'freeze', request })
  await untilTrue(() => said.length === 3)
  t.true(group.isFrozen())
  let wasFrozen: boolean | null = null
  ground.engine.before = (call) => {
    if (call === `pause ${group.container}`) wasFrozen ??= group.isFrozen()
  }
  fence.heard({ kind: 'guard', guard: inMs(0) })
  await untilTrue(() => ground.engine.stateOf(group.container) === 'paused')
  t.false(wasFrozen)
  t.like(said[3], { kind: 'thawed', end: { why: 'fence' } })
})

test('promise 6: what a process before this one has left is thawed before a fence, not under it', async (t) => {
  await using ground = await start()
  await using group = await ControlGroup.make('v2')
  const { container } = group
  ground.engine.run(container, 'data')
  // It was killed when the container ran again, and before it could say so.
  await ground.notes.write('1', [container])
  await ground.keepGuard(inMs(-1_000))
  let asked = 0
  ground.engine.before = (call) => {
    if (call === 'users') asked += 1
    // As runc does.
    if (call === `pause ${container}`) group.set(true)
  }
  const files = openFreezerFiles(group.root)
  const open = async (id: string) => {
    await untilTrue(() => asked >= 2)
    await sleep(100)
    return await files.open(id)
  }
  await ground.open({ ...files, open })
  await untilTrue(() => ground.engine.stateOf(container) === 'paused')
  await untilTrue(async () => (await ground.notes.read()).length === 0)
  t.true(group.isFrozen())
})

test('promise 13: a command that the engine announces ends a freeze', async (t) => {
  await using ground = await start()
  await using group = await ControlGroup.make('v2')
  const fence = await ground.open(openFreezerFiles(group.root))
  const said: unknown[] = []
  fence.started(
    () => {},
    (message) => said.push(message),
  )
  fence.heard({ kind: 'freeze', request: { id: '1', containers: [group.container], budgetMs: 3_600_000 } })
  await untilTrue(() => said.length === 3)
  ground.engine.say('exec_create: pg_dump', group.container)
  t.false(group.isFrozen())
  t.like(said[3], { kind: 'thawed', end: { why: 'command' } })
})

test('an agent that is silent for three leases is killed once; one that has not spoken yet is not', async (t) => {
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
    fence.heard({ kind: 'alive' })
    await sleep(LEASE_MS / 2)
  }
  t.deepEqual(kills, [])
  await untilTrue(() => kills.length > 0)
  await sleep(2 * LEASE_MS)
  t.is(kills.length, 1)
})

test('promise 1: each new agent is told what the watchdog guards, also from an earlier plugin', async (t) => {
  await using ground = await start()
  const kept = inMs(-1_000)
  await ground.keepGuard(kept)
  const fence = await ground.open()
  const said: unknown[] = []
  const begin = () => fence.started(() => {}, said.push.bind(said))
  begin()
  t.deepEqual(said.pop(), { kind: 'guarded', guard: kept })
  const volumes = [{ id: 'id2', name: 'other', epoch: 1 }]
  const next = { untilMs: systemClock.elapsedMs() + LEASE_MS, volumes }
  fence.heard({ kind: 'guard', guard: next })
  fence.ended()
  begin()
  t.deepEqual(said.pop(), { kind: 'guarded', guard: next })
})
