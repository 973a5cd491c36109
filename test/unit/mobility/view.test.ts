import test from 'ava'
import { describeConditions } from '../../../agent/api/format.ts'
import type { Context } from '../../../agent/mobility/context.ts'
import { readDisk, viewVolume } from '../../../agent/mobility/volume/view.ts'
import type { VolumeView } from '../../../agent/mobility/volume-view.ts'
import { WherryError } from '../../../agent/model/errors.ts'
import type { CopyRecord, VolumeRecord } from '../../../agent/model/model.ts'
import { HeldKit, ID } from './held-kit.ts'
import { MemoryHost } from './memory-host.ts'
import { World } from './world.ts'

/** What a person is told on that host. */
async function view(kit: HeldKit, name: string): Promise<VolumeView> {
  const { context: core } = kit.host(name)
  return viewVolume(core, await kit.record(), await look(core), false)
}

async function look(core: Context) {
  return await readDisk(core, (await core.dependencies.store.copies()).copies)
}

function whyOf({ copies }: VolumeView, host: string): string | null | undefined {
  return copies.find((copy) => copy.host === host)?.why
}

test('a copy whose disk is full is told of on its host and by the holder, until it has the newest checkpoint', async (t) => {
  const kit = await HeldKit.start(2)
  kit.host('h2').store.stageError = new WherryError('DISK_FULL', 'no space left on h2.', { hint: 'Make room.' })
  kit.write('ab')
  await kit.clock.advance(21_000)
  kit.beat()
  const [here, there] = [await view(kit, 'h1'), await view(kit, 'h2')]
  t.regex(whyOf(here, 'h2') ?? '', /no space left on h2/)
  t.regex(whyOf(there, 'h2') ?? '', /no space left on h2/)
  t.is(whyOf(here, 'h1'), null)
  t.true((here.elsewhere?.ageSeconds ?? 0) >= 20, `${here.elsewhere?.ageSeconds}`)
  kit.host('h2').store.stageError = null
  await kit.clock.advance(10_000)
  kit.beat()
  for (const host of ['h1', 'h2']) t.is(whyOf(await view(kit, host), 'h2'), null)
  t.true(((await view(kit, 'h1')).elsewhere?.ageSeconds ?? Infinity) <= 11)
  kit.stop()
})

test('a copy that needs long is on its way, and a host that is away has been so for some time', async (t) => {
  const kit = await HeldKit.start(3)
  kit.host('h3').pullMs = 35_000
  for (let n = 0; n < 22; n++) {
    kit.write(`a${n}`)
    await kit.clock.advance(1_000)
  }
  // No heartbeats are sent here: all hosts have gone silent after a while.
  const { context: core } = kit.host('h1')
  t.regex(whyOf(await view(kit, 'h1'), 'h3') ?? '', /^not heard from for 2\d s$/)
  kit.beat()
  t.is(whyOf(await view(kit, 'h1'), 'h3'), 'a checkpoint is on its way there')
  t.is(whyOf(await view(kit, 'h1'), 'h2'), null)
  t.is(whyOf(await view(kit, 'h3'), 'h3'), `being pulled from ${core.hosts.label('h1')}`)
  kit.stop()
})

test('checkpoints that were given up say how often and why, and the age goes on growing', async (t) => {
  const kit = await HeldKit.start(2)
  void kit.keepBeating()
  const { store, containers } = kit.host('h1')
  containers.run('db')
  store.freezeMs = 5_000
  kit.write('ab')
  await kit.clock.advance(60_000)
  const { checkpointing, elsewhere } = await view(kit, 'h1')
  t.true((checkpointing?.failures ?? 0) >= 2, `${checkpointing?.failures}`)
  t.regex(checkpointing?.error ?? '', /paused its containers for more than 500 ms: none was taken/)
  t.true((elsewhere?.ageSeconds ?? 0) >= 59)
  store.freezeMs = 100
  await kit.clock.advance(120_000)
  const after = await view(kit, 'h1')
  t.like(after.checkpointing, { failures: 0, error: null })
  t.is(after.id, ID)
  kit.stop()
})

test('how checkpoints go only the holder knows: every other host names it, when there are any', async (t) => {
  const kit = await HeldKit.start(2)
  void kit.keepBeating()
  await kit.clock.advance(11_000)
  const lineOf = (seen: VolumeView) => describeConditions(seen).find(([about]) => about === 'checkpoints')?.[1]
  t.regex(lineOf(await view(kit, 'h1')) ?? '', /^every \d+ s/)
  const there = await view(kit, 'h2')
  t.is(lineOf(there), 'only h1, which holds the volume, reports them: inspect the volume there')
  for (const more of [{ copies: 1 }, { checkpointMs: null }]) {
    t.is(lineOf({ ...there, options: { ...there.options, ...more } }), undefined)
  }
  t.is(lineOf({ ...there, holder: null }), undefined)
  kit.stop()
})

test('promise 5: a copy on a host that is away is none that a loss could be survived with', async (t) => {
  const kit = await HeldKit.start(3)
  void kit.keepBeating()
  await kit.change((record) => ({ ...record, copies: { h1: copyOf(record, 'h1'), h2: copyOf(record, 'h2') } }))
  await kit.clock.advance(21_000)
  const before = await view(kit, 'h1')
  t.true((before.elsewhere?.ageSeconds ?? Infinity) <= 11)
  t.deepEqual(
    before.copies.map(({ awaySince }) => awaySince),
    [null, null],
  )
  Object.assign(kit.host('h2'), { silent: true, down: true })
  const cutAt = kit.clock.now()
  await kit.clock.advance(30_000)
  for (const host of ['h1', 'h3']) {
    const after = await view(kit, host)
    t.is(after.elsewhere, null, 'nothing was written since, and nobody else has it')
    const [here, away] = after.copies
    t.is(here?.awaySince, null)
    t.true(Math.abs(Date.parse(away?.awaySince ?? '') - cutAt.getTime()) <= 1_000)
    t.regex(
      describeConditions(after).join('\n'),
      /no other host that is alive has a checkpoint \(away: h2 since 20.*alone/,
    )
  }
  t.is(kit.host('h1').context.checkpointScheduler.covered(ID), null, 'its heartbeat does not say it either')
  kit.write('ab')
  await kit.clock.advance(21_000)
  t.is((await view(kit, 'h1')).elsewhere, null)
  Object.assign(kit.host('h2'), { silent: false, down: false })
  await kit.clock.advance(21_000)
  const { elsewhere, copies } = await view(kit, 'h1')
  t.true((elsewhere?.ageSeconds ?? Infinity) <= 11)
  t.true(copies.every(({ awaySince }) => awaySince === null))
  kit.stop()
})

test('promise 5: of two copies the one on the living host tells the age', async (t) => {
  const kit = await HeldKit.start(3)
  void kit.keepBeating()
  kit.host('h3').pullMs = 1_000_000
  for (let n = 0; n < 30; n++) {
    kit.write(`a${n}`)
    await kit.clock.advance(1_000)
  }
  const [, , h3] = (await view(kit, 'h1')).copies
  t.is(h3?.state, 'behind')
  t.true(((await view(kit, 'h1')).elsewhere?.ageSeconds ?? Infinity) <= 12)
  Object.assign(kit.host('h2'), { silent: true, down: true })
  await kit.clock.advance(10_000)
  t.is((await view(kit, 'h1')).elsewhere, null, 'the newest is on a host that is away')
  kit.host('h3').pullMs = 0
  kit.stop()
})

test('while the registry is away, a host that answers is alive', async (t) => {
  const kit = await HeldKit.start(2)
  const { context: core } = kit.host('h1')
  const record = await kit.record()
  const elsewhere = async () => viewVolume(core, record, await look(core), true).elsewhere
  await kit.clock.advance(11_000)
  kit.registry.away = true
  await kit.clock.advance(60_000)
  t.true(((await elsewhere())?.ageSeconds ?? Infinity) <= 11)
  kit.host('h2').down = true
  await kit.clock.advance(31_000)
  t.is(await elsewhere(), null)
  kit.stop()
})

function copyOf({ copies }: VolumeRecord, host: string): CopyRecord {
  const found = copies[host]
  if (found === undefined) throw new Error(`no copy on ${host}`)
  return found
}

test('the list of hosts has this host as soon as its heartbeat is written, before it was passed on', async (t) => {
  const world = new World()
  world.registry.followedHosts = async () => []
  world.names.push('h1')
  const host = new MemoryHost(world, 'h1')
  world.hosts.push(host)
  await host.agent.start()
  await world.clock.advance(3_000)
  t.like(await world.clock.until(host.agent.hosts()), { 0: { name: 'h1', self: true, alive: true }, length: 1 })
})
