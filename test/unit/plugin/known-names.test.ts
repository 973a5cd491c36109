import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { pino } from 'pino'
import { isKnownName, keepNames } from '../../../agent/host/known-names.ts'
import { WherryError } from '../../../agent/model/errors.ts'
import { VolumeCache } from '../../../agent/registry/cache.ts'
import { MemoryRegistry } from '../../fake/memory-registry.ts'
import { scratch } from '../bus/server.ts'
import { volumeRecord } from '../registry/records.ts'
import { untilTrue } from '../until.ts'
import { startPlugin } from './engine.ts'

const FAILURES = {
  'the agent is away': null,
  'the registry is away': new WherryError('REGISTRY_UNAVAILABLE', 'No leader.'),
  'the agent has a fault': new TypeError('a bug'),
}

for (const [when, failure] of Object.entries(FAILURES))
  test(`promise 10: while ${when}, Get says that a known volume exists, and hangs up on others`, async (t) => {
    await using plugin = await startPlugin({ deadlineMs: 300 })
    await writeFile(join(plugin.dir, 'names.json'), '["data"]')
    if (failure !== null) await plugin.serveAgent()
    plugin.mobility.before = () => {
      if (failure !== null) throw failure
    }
    const answer = await plugin.call('VolumeDriver.Get', { Name: 'data' })
    t.is(answer?.status, 200)
    t.like(answer?.body.Volume, { Name: 'data', Mountpoint: '' })
    t.regex(JSON.stringify(answer?.body), /"stale":"it exists, and nothing else is known: .+"/)
    t.is(await plugin.call('VolumeDriver.Get', { Name: 'other' }), null)
  })

test('what the registry says comes before what was known', async (t) => {
  await using plugin = await startPlugin()
  await writeFile(join(plugin.dir, 'names.json'), '["gone"]')
  await plugin.serveAgent()
  t.regex(String((await plugin.call('VolumeDriver.Get', { Name: 'gone' }))?.body.Err), /no volume "gone"/)
})

test('the names of all volumes are on the disk, as they come and go', async (t) => {
  await using state = await scratch()
  const registry = new MemoryRegistry()
  const cache = new VolumeCache({ registry, named: keepNames(state.dir, pino({ level: 'silent' })) })
  const names = async () => JSON.parse(await readFile(join(state.dir, 'names.json'), 'utf8').catch(() => '[]'))
  await registry.addVolume(volumeRecord('b'))
  await registry.addVolume(volumeRecord('a'))
  await cache.get('a')
  t.false(await isKnownName(state.dir, 'a'), 'not before all are known')
  await cache.list()
  await untilTrue(async () => (await names()).join() === 'a,b')
  const entry = await registry.addVolume(volumeRecord('c'))
  if (entry.outcome !== 'done') return t.fail()
  await cache.get('c')
  await untilTrue(async () => (await names()).join() === 'a,b,c')
  await registry.updateVolume({ ...entry.entry.value, removedAt: new Date().toISOString() }, entry.entry.revision)
  await cache.get('c')
  await untilTrue(async () => (await names()).join() === 'a,b')
  t.true(await isKnownName(state.dir, 'b'))
  await writeFile(join(state.dir, 'names.json'), '{')
  t.false(await isKnownName(state.dir, 'b'))
})
