import test from 'ava'
import { announceCopy } from '../../../agent/mobility/record/report-copy.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { World } from './world.ts'

/** A volume that h1 has used, and h2's way to the registry. */
async function ground() {
  const world = await World.start(2)
  await world.host(1).agent.create('data', DEFAULT_OPTIONS)
  await world.use(1, 'data', 'one')
  const self = { id: 'h2', address: 'h2', transferPort: 1, incarnation: 'i', version: '1' }
  const parts = { registry: world.registry, clock: world.clock, self, signal: new AbortController().signal }
  return { world, announce: async () => announceCopy(parts, await world.record('data')) }
}

test('a copy that is about to be made is in the record before anything of it is on the disk', async (t) => {
  const { world, announce } = await ground()
  await announce()
  t.is((await world.record('data')).copies.h2?.state, 'filling')
})

test('removal: no host begins a copy of a volume that is being removed: nobody would ask it to put that away', async (t) => {
  const { world, announce } = await ground()
  const { copies: _, ...rest } = await world.record('data')
  const before = { ...rest, copies: {}, removedAt: 'now' }
  const revision = (await world.registry.volume('data'))?.revision ?? 0
  await world.registry.updateVolume(before, revision)
  await t.throwsAsync(announce(), { code: 'VOLUME_NOT_FOUND' })
  t.deepEqual((await world.record('data')).copies, {})
})
