import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { WherryError } from '../../../agent/model/errors.ts'
import { untilTrue } from '../until.ts'
import { startPlugin } from './engine.ts'

const MOUNT = ['VolumeDriver.Mount', { Name: 'data', ID: 'm1' }] as const

async function startWithVolume(limits?: Parameters<typeof startPlugin>[0]) {
  const plugin = await startPlugin(limits)
  const served = await plugin.serveAgent()
  await plugin.call('VolumeDriver.Create', { Name: 'data' })
  const gate = Promise.withResolvers<void>()
  plugin.mobility.before = (call) => (call.startsWith('mount') ? gate.promise : undefined)
  const called = (what: string) => plugin.mobility.calls.filter((call) => call.startsWith(what)).length
  /** A Mount that has reached the agent when its engine gives up; answers what the engine got. */
  const giveUpMount = async () => {
    const engine = new AbortController()
    const answer = plugin.callUntil(engine.signal, ...MOUNT)
    await untilTrue(() => called('mount') === 1)
    engine.abort()
    return await answer
  }
  return { ...plugin, served, gate, called, giveUpMount }
}

test('a Mount whose engine gave up is taken back when it succeeds after all', async (t) => {
  await using plugin = await startWithVolume()
  t.is(await plugin.giveUpMount(), null)
  await sleep(50)
  t.is(plugin.called('unmount'), 0)
  plugin.gate.resolve()
  await untilTrue(() => plugin.called('unmount data m1') === 1)
  await untilTrue(() => plugin.mobility.mounts.size === 0)
  t.pass()
})

test('a Mount that failed is not taken back: the agent counted nothing', async (t) => {
  await using plugin = await startWithVolume()
  await plugin.giveUpMount()
  plugin.gate.reject(new WherryError('VOLUME_HELD_ELSEWHERE', 'Held by h1.'))
  await untilTrue(() => plugin.server.running() === 0)
  t.regex(String((await plugin.call(...MOUNT))?.body.Err), /Held by h1/)
  t.is(plugin.called('unmount'), 0)
})

test('a Mount whose answer arrived is not taken back', async (t) => {
  await using plugin = await startWithVolume()
  plugin.gate.resolve()
  t.is((await plugin.call(...MOUNT))?.status, 200)
  await sleep(100)
  t.is(plugin.called('unmount'), 0)
})

test('Mounts of the same volume and id at the same time are one; it stands while one of them got its answer', async (t) => {
  await using plugin = await startWithVolume()
  const engine = new AbortController()
  const first = plugin.callUntil(engine.signal, ...MOUNT)
  const second = plugin.call(...MOUNT)
  const other = plugin.call('VolumeDriver.Mount', { Name: 'data', ID: 'm2' })
  await untilTrue(() => plugin.server.running() === 3 && plugin.called('mount') === 2)
  engine.abort()
  t.is(await first, null)
  plugin.gate.resolve()
  t.deepEqual((await second)?.body, { Mountpoint: '/mnt/wherry/id-of-data' })
  t.deepEqual((await other)?.body, { Mountpoint: '/mnt/wherry/id-of-data' })
  await sleep(100)
  t.deepEqual([plugin.called('mount data m1'), plugin.called('mount data m2'), plugin.called('unmount')], [1, 1, 0])
})

test('a new Mount with the id of one that is being taken back waits for that, and stands', async (t) => {
  await using plugin = await startWithVolume()
  await plugin.giveUpMount()
  const unmounted = Promise.withResolvers<void>()
  plugin.mobility.before = (call) => (call.startsWith('unmount') ? unmounted.promise : undefined)
  plugin.gate.resolve()
  await untilTrue(() => plugin.called('unmount') === 1)
  const second = plugin.call(...MOUNT)
  await sleep(100)
  t.is(plugin.called('mount'), 1)
  unmounted.resolve()
  t.is((await second)?.status, 200)
  t.deepEqual([...plugin.mobility.mounts], ['data/m1'])
})

test('a Mount is taken back even if the agent is restarted in between', async (t) => {
  await using plugin = await startWithVolume()
  await plugin.giveUpMount()
  plugin.mobility.before = (call) => (call.startsWith('unmount') ? new Promise(() => {}) : undefined)
  plugin.gate.resolve()
  await untilTrue(() => plugin.called('unmount') === 1)
  await plugin.served[Symbol.asyncDispose]()
  plugin.mobility.before = () => {}
  await plugin.serveAgent()
  await untilTrue(() => plugin.mobility.mounts.size === 0)
  t.true(plugin.called('unmount') >= 2)
})

test('a Mount that nobody waits for is not tried again', async (t) => {
  await using plugin = await startWithVolume()
  await plugin.giveUpMount()
  await plugin.served[Symbol.asyncDispose]()
  await plugin.serveAgent()
  await sleep(400)
  t.is(plugin.called('mount'), 1)
})

test('promise 9: a Mount that finds no agent fails at its deadline and says so', async (t) => {
  await using plugin = await startPlugin({ mountDeadlineMs: 500 })
  const startMs = performance.now()
  const answer = await plugin.call(...MOUNT)
  const tookMs = performance.now() - startMs
  t.regex(String(answer?.body.Err), /agent on this host does not reply/)
  t.true(tookMs > 300 && tookMs < 5_000, `${tookMs}`)
})

test('promise 9: a Mount ends before an engine that was seen to give up does, and says how to change that', async (t) => {
  await using plugin = await startPlugin({ mountDeadlineMs: 110_000 })
  await plugin.serveAgent()
  await plugin.call('VolumeDriver.Create', { Name: 'data' })
  const deadlineMs = async () => {
    t.is((await plugin.call(...MOUNT))?.status, 200)
    return Number(plugin.mobility.calls.at(-1)?.split(' ').at(-1))
  }
  // As when it was ended in the middle of a call; dockerd repeats such a call.
  plugin.patience.gaveUp(12_000)
  t.true((await deadlineMs()) > 100_000)
  plugin.patience.gaveUp(30_010.25)
  const shortened = await deadlineMs()
  t.true(shortened > 20_000 && shortened < 26_000, `${shortened}`)
  const late = new WherryError('VOLUME_HELD_ELSEWHERE', 'Held by h1.', { hint: 'Stop it there.' })
  const explained = (tookMs: number) => plugin.patience.explain(late, 110_000, tookMs)
  t.is(explained(1_000), late)
  t.regex((explained(25_000) as WherryError).toLine(), /Held by h1.*Stop it there.*waits for 30 s only.*--timeout 0/)
})
