import test from 'ava'
import { WherryError } from '../../../agent/errors.ts'
import type { VolumeView } from '../../../agent/mobility/contract.ts'
import { lookAtDisk, viewVolume } from '../../../agent/mobility/views.ts'
import { HeldKit, ID } from './held-kit.ts'

/** What a person is told on that host. */
async function view(kit: HeldKit, name: string): Promise<VolumeView> {
  const { core } = kit.host(name)
  return viewVolume(core, await kit.record(), await lookAtDisk(core), false)
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
  const { core } = kit.host('h1')
  t.regex(whyOf(await view(kit, 'h1'), 'h3') ?? '', /^not heard from for 2\d s$/)
  kit.beat()
  t.is(whyOf(await view(kit, 'h1'), 'h3'), 'a checkpoint is on its way there')
  t.is(whyOf(await view(kit, 'h1'), 'h2'), null)
  t.is(whyOf(await view(kit, 'h3'), 'h3'), `being pulled from ${core.hosts.label('h1')}`)
  kit.stop()
})

test('checkpoints that were given up say how often and why, and the age goes on growing', async (t) => {
  const kit = await HeldKit.start(2)
  const { store, containers } = kit.host('h1')
  containers.run('db')
  store.freezeMs = 5_000
  kit.write('ab')
  await kit.clock.advance(60_000)
  const { checkpointing, elsewhere } = await view(kit, 'h1')
  t.true((checkpointing?.failures ?? 0) >= 2, `${checkpointing?.failures}`)
  t.regex(checkpointing?.error ?? '', /more than 500 ms for a checkpoint; they run on without one/)
  t.true((elsewhere?.ageSeconds ?? 0) >= 59)
  store.freezeMs = 100
  await kit.clock.advance(120_000)
  const after = await view(kit, 'h1')
  t.like(after.checkpointing, { failures: 0, error: null })
  t.is(after.id, ID)
  kit.stop()
})
