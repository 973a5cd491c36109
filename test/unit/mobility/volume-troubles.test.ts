import test from 'ava'
import { forEachVolume } from '../../../agent/mobility/for-each-volume.ts'
import { VolumeTroubles } from '../../../agent/mobility/volume-troubles.ts'
import { codeOf, WherryError } from '../../../agent/model/errors.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { VirtualClock } from '../../fake/clock.ts'
import { silentLog } from '../store/fixture.ts'
import { World } from './world.ts'

const VOLUME = { id: 'id', name: 'data' }
const FULL = new WherryError('DISK_FULL', 'no room on this disk')
const ODD = new WherryError('TREE_UNSUPPORTED', 'a tree too large')
const OPTIONS = { ...DEFAULT_OPTIONS, copies: 2 }
const never = new AbortController().signal

/** How often a step that always fails is tried within `minutes`, at one call a second. */
async function triesIn(minutes: number, failure: (atMs: number) => Error): Promise<number> {
  const clock = new VirtualClock()
  const troubles = new VolumeTroubles({ clock, log: silentLog })
  let tries = 0
  const work = async () => {
    tries += 1
    throw failure(clock.elapsedMs())
  }
  const pace = { troubles, step: 'step', volumeOf: () => VOLUME }
  for (let second = 0; second < minutes * 60; second++) {
    await forEachVolume([VOLUME], work, pace).catch(() => undefined)
    await clock.advance(1_000)
  }
  return tries
}

test('what fails for one reason is tried again after 1 s, then ever later, and at least every 5 minutes', async (t) => {
  const tries = await triesIn(60, () => ODD)
  t.true(tries >= 18 && tries <= 22, `${tries} tries in an hour`)
})

test('another reason is tried again after 1 s, and an outage at every call', async (t) => {
  const changed = await triesIn(60, (atMs) => (atMs < 1_800_000 ? ODD : FULL))
  t.true(changed >= 26 && changed <= 32, `${changed} tries in an hour`)
  t.is(await triesIn(1, () => new WherryError('REGISTRY_UNAVAILABLE', 'away')), 60)
})

test('a failure is thrown when it is new, keeps no other volume waiting, and is forgotten after success', async (t) => {
  const clock = new VirtualClock()
  const troubles = new VolumeTroubles({ clock, log: silentLog })
  const pace = { troubles, step: 'step', volumeOf: (id: string) => ({ id, name: id }) }
  const done: string[] = []
  let broken = true
  const work = async (id: string) => {
    if (id === 'a' && broken) throw FULL
    done.push(id)
  }
  await t.throwsAsync(forEachVolume(['a', 'b'], work, pace), { code: 'DISK_FULL' })
  t.is(troubles.of('a')?.code, 'DISK_FULL')
  t.deepEqual(Object.keys(troubles.all(() => false)), ['a'])
  t.deepEqual(
    troubles.all((id) => id === 'a'),
    {},
  )
  await forEachVolume(['a', 'b'], work, pace)
  await clock.advance(1_000)
  await forEachVolume(['a', 'b'], work, pace)
  broken = false
  await forEachVolume(['a', 'b'], work, pace)
  t.deepEqual(done, ['b', 'b', 'b', 'b'], 'it waits two seconds now')
  troubles.clear('a')
  await forEachVolume(['a'], work, pace)
  t.deepEqual(done.slice(4), ['a'], 'a Mount or an operator comes: it is tried at once')
  t.is(troubles.of('a'), null)
})

/** An idle volume on h1 whose copy on h2 cannot catch up. */
async function lagging() {
  const world = await World.start(3)
  const [h1, h2] = [world.host(1), world.host(2)]
  await h1.agent.create('data', OPTIONS)
  await world.use(1, 'data', 'one')
  await world.use(2, 'data', 'two')
  await world.clock.advance(30_000)
  h2.store.stageError = FULL
  await world.use(1, 'data', 'three')
  world.pulls.length = 0
  await world.clock.advance(20_000)
  return { world, h1, h2 }
}

test('why a copy cannot catch up is said by every host, and the volume can be removed meanwhile', async (t) => {
  const { world, h1, h2 } = await lagging()
  for (const host of world.hosts) {
    const { copies } = await host.agent.get('data', never)
    t.regex(copies.find(({ host: name }) => name === 'h2')?.why ?? '', /no room on this disk/, host.name)
  }
  await world.clock.until(h1.agent.remove('data'))
  t.is(codeOf(await h1.agent.get('data', never).catch((error: unknown) => error)), 'VOLUME_NOT_FOUND')
  await world.clock.advance(10_000)
  t.is(h2.store.inTrash.size, 1)
})

test('a copy whose disk is full is tried again after minutes, and follows once there is room', async (t) => {
  const { world, h2 } = await lagging()
  await world.clock.advance(1_200_000)
  t.true(world.pulls.length < 15, `${world.pulls.length} tries in 20 minutes`)
  h2.store.stageError = null
  await world.clock.advance(300_000)
  t.is(h2.store.trees.get((await world.record('data')).id), 'three')
})

for (const command of ['verify', 'promote'] as const) {
  test(`what failed before is tried at once when an operator says ${command}`, async (t) => {
    const { world, h2 } = await lagging()
    await world.clock.advance(1_200_000)
    h2.store.stageError = null
    const { id } = await world.record('data')
    await world.clock.advance(5_000)
    t.not(h2.store.trees.get(id), 'three', 'it waits')
    if (command === 'verify') await world.clock.until(h2.agent.verify('data', never))
    else await world.clock.until(h2.agent.promote('data', false, never))
    await world.clock.advance(5_000)
    t.is(h2.store.trees.get(id), 'three')
  })
}
