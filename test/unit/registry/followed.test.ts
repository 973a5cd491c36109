import { readFile, rm, writeFile } from 'node:fs/promises'
import test from 'ava'
import { z } from 'zod'
import { codeOf } from '../../../agent/model/errors.ts'
import { JetStreamRegistry } from '../../../agent/registry/registry.ts'
import { BUCKETS } from '../../../agent/registry/setup.ts'
import { eventually, scratch, startHost, type TestHost } from '../bus/server.ts'
import { hostRecord, openRegistry, readyRegistry, removedRecord, volumeRecord } from './records.ts'

const VOLUMES = 300

const requests = z.object({ api: z.object({ total: z.number() }) })

/** Requests to JetStream that the server has replied to. */
async function requestsTo(host: TestHost): Promise<number> {
  return requests.parse(await host.embedded.monitor('/jsz', 5_000)).api.total
}

/** All streams of the registry are gone, as with the disks of its servers. */
async function loseStreams(host: TestHost): Promise<void> {
  const manager = await host.bus.connection().jetstreamManager()
  for (const bucket of Object.values(BUCKETS)) await manager.streams.delete(`KV_${bucket}`)
}

function freshRegistry(host: TestHost, witness: string | null): JetStreamRegistry {
  const { bus, log } = host
  return new JetStreamRegistry({
    bus,
    replicas: 1,
    manages: true,
    oldStore: null,
    seals: null,
    findWitness: async () => witness,
    log,
  })
}

test('lists, changes and removals cost the same number of requests however many volumes there are', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  await using registry = await readyRegistry(host)
  await using other = await readyRegistry(host)
  for (let nth = 0; nth < VOLUMES; nth += 50)
    await Promise.all(Array.from({ length: 50 }, (_, n) => registry.addVolume(volumeRecord(`v${nth + n}`))))
  await eventually('the other one has followed', async () => (await other.followedVolumes()).length === VOLUMES)
  const before = await requestsTo(host)
  for (let nth = 0; nth < 10; nth++) t.is((await other.volumes()).length, VOLUMES)
  const added = await registry.addRemoved(removedRecord('x'))
  if (added.outcome !== 'done') return t.fail(added.outcome)
  const updated = await registry.updateRemoved({ ...removedRecord('x'), hosts: [] }, added.entry.revision)
  if (updated.outcome !== 'done') return t.fail(updated.outcome)
  await registry.deleteRemoved('x', updated.entry.revision)
  t.deepEqual(await other.removed(), [])
  // What both check from time to time comes on top.
  t.true((await requestsTo(host)) - before < 40, `${(await requestsTo(host)) - before} requests`)
})

test('a read of all has what another host has written before, at once', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  await using registry = await readyRegistry(host)
  await using other = await readyRegistry(host)
  for (let nth = 1; nth <= 50; nth++) {
    await registry.addVolume(volumeRecord(`v${nth}`))
    t.is((await other.volumes()).length, nth)
  }
})

test('promise 10: a registry that was lost is not there again because a fresh host has created an empty one', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  await using registry = await readyRegistry(host)
  t.is((await registry.addVolume(volumeRecord('data'))).outcome, 'done')
  await loseStreams(host)
  await using fresh = freshRegistry(host, null)
  await eventually('the fresh host has created its streams', () => fresh.state().ready)
  // The first read may be the first to notice.
  t.is(codeOf(await t.throwsAsync(registry.volume('data'))), 'REGISTRY_UNAVAILABLE')
  t.is(codeOf(await t.throwsAsync(registry.volumes())), 'REGISTRY_UNAVAILABLE')
  await eventually('what to do', () => /created an empty one since/.test(registry.state().detail))
  t.is(codeOf(await t.throwsAsync(registry.followedVolumes())), 'REGISTRY_UNAVAILABLE')
  await using restarted = await openRegistry(host)
  await eventually('the same after a restart', () => /created an empty one since/.test(restarted.state().detail))
  t.is(codeOf(await t.throwsAsync(restarted.volume('data'))), 'REGISTRY_UNAVAILABLE')
  // An operator begins anew on purpose.
  await rm(host.embedded.seenPath)
  await eventually('the empty registry counts', () => registry.state().ready && restarted.state().ready)
  t.is(await registry.volume('data'), null)
  t.is((await registry.addVolume(volumeRecord('data'))).outcome, 'done')
})

test('promise 10: nothing counts as added to an empty registry in place of the known one', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  await using registry = await readyRegistry(host)
  await loseStreams(host)
  await using fresh = freshRegistry(host, null)
  await eventually('the fresh host has created its streams', () => fresh.state().ready)
  // These are on their way before anything is noticed: none of them reads first.
  const adds = [
    registry.addVolume(volumeRecord('data')),
    registry.addRemoved(removedRecord('x')),
    registry.addHost(hostRecord('h1', '2026-01-01T00:00:00.000Z')),
  ]
  for (const add of await Promise.allSettled(adds)) {
    if (add.status === 'rejected') t.is(codeOf(add.reason), 'REGISTRY_UNAVAILABLE')
    else t.is(add.value.outcome, 'unknown')
  }
})

test('promise 10: a fresh host creates no registry when another host has seen one', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  await using fresh = freshRegistry(host, '10.0.0.7')
  await eventually('the reason', () => /10\.0\.0\.7 has seen it: it was lost/.test(fresh.state().detail))
  t.is(codeOf(await t.throwsAsync(fresh.volume('data'))), 'REGISTRY_UNAVAILABLE')
  t.false(await fresh.hasSeen())
  await using first = freshRegistry(host, null)
  await eventually('a host that nobody contradicts', () => first.state().ready)
  t.true(await first.hasSeen())
  await eventually('the other follows', () => fresh.state().ready)
})

test('what an older version noted of the streams goes on being known, and it can read what this one notes', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  {
    await using registry = await readyRegistry(host)
    await registry.addVolume(volumeRecord('data'))
  }
  const noted = z.array(z.string()).parse(JSON.parse(await readFile(host.embedded.seenPath, 'utf8')))
  const names = Object.values(BUCKETS).map((bucket) => `KV_${bucket}`)
  t.true(names.every((name) => noted.includes(name)))
  await writeFile(host.embedded.seenPath, JSON.stringify(names))
  {
    await using registry = await readyRegistry(host)
    t.is((await registry.volume('data'))?.value.name, 'data')
  }
  await loseStreams(host)
  await using fresh = freshRegistry(host, null)
  await eventually('the fresh host has created its streams', () => fresh.state().ready)
  await using registry = await openRegistry(host)
  await eventually('it is not taken for the lost one', () => /created an empty one/.test(registry.state().detail))
})
