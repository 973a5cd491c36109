import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { codeOf } from '../../../agent/model/errors.ts'
import { VolumeCache } from '../../../agent/registry/cache.ts'
import { eventually, freeze, scratch, serverPid, startHost } from '../bus/server.ts'
import { hostRecord, openRegistry, readyRegistry, removedRecord, volumeRecord } from './records.ts'

test('of many writers at one revision exactly one wins, and no acknowledged change is lost', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  await using registry = await readyRegistry(host)
  const added = await Promise.all(Array.from({ length: 9 }, () => registry.addVolume(volumeRecord('counter'))))
  t.is(added.filter((answer) => answer.outcome === 'done').length, 1)
  t.is(added.filter((answer) => answer.outcome === 'refused').length, 8)

  const winners = new Map<number, number>()
  const writer = async (wins: number) => {
    for (let won = 0; won < wins; ) {
      const entry = await registry.volume('counter')
      if (entry === null) throw new Error('the record is gone')
      const answer = await registry.updateVolume({ ...entry.value, epoch: entry.value.epoch + 1 }, entry.revision)
      if (answer.outcome === 'unknown') throw answer.cause
      if (answer.outcome === 'refused') continue
      winners.set(entry.revision, (winners.get(entry.revision) ?? 0) + 1)
      won++
    }
  }
  await Promise.all(Array.from({ length: 9 }, () => writer(20)))
  t.true([...winners.values()].every((count) => count === 1))
  t.is((await registry.volume('counter'))?.value.epoch, 180)
})

test('a removed name is free again, and an old revision of it never wins', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  await using registry = await readyRegistry(host)
  const first = await registry.addVolume(volumeRecord('data', { id: 'first' }))
  if (first.outcome !== 'done') return t.fail(first.outcome)
  t.is((await registry.deleteVolume('data', first.entry.revision + 7)).outcome, 'refused')
  t.is((await registry.deleteVolume('data', first.entry.revision)).outcome, 'done')
  t.is(await registry.volume('data'), null)
  t.deepEqual(await registry.volumes(), [])
  t.is((await registry.deleteVolume('data', first.entry.revision)).outcome, 'refused')
  const second = await registry.addVolume(volumeRecord('data', { id: 'second' }))
  t.is(second.outcome, 'done')
  t.is((await registry.updateVolume(first.entry.value, first.entry.revision)).outcome, 'refused')
  t.is((await registry.addVolume(volumeRecord('data', { id: 'third' }))).outcome, 'refused')
  t.is((await registry.volume('data'))?.value.id, 'second')
})

test('names with dots and other signs have keys of their own, and all of many are listed', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  await using registry = await readyRegistry(host)
  const names = ['a.b', 'a=2Eb', 'a_b', 'a', 'a.b.c', 'A.b', 'ä', ...Array.from({ length: 200 }, (_, n) => `v.${n}`)]
  for (const name of names) t.is((await registry.addVolume(volumeRecord(name))).outcome, 'done')
  t.deepEqual((await registry.volumes()).map(({ value }) => value.name).sort(), names.toSorted())
  for (const name of names.slice(0, 8)) t.is((await registry.volume(name))?.value.name, name)
  t.is(await registry.volume('a.b.'), null)
})

test('tombstones and heartbeats are kept in buckets of their own', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  await using registry = await readyRegistry(host)
  const added = await registry.addRemoved(removedRecord('x'))
  if (added.outcome !== 'done') return t.fail(added.outcome)
  t.is((await registry.addRemoved(removedRecord('x'))).outcome, 'refused')
  const updated = await registry.updateRemoved({ ...removedRecord('x'), hosts: [] }, added.entry.revision)
  if (updated.outcome !== 'done') return t.fail(updated.outcome)
  t.deepEqual((await registry.removed())[0]?.value.hosts, [])
  t.is((await registry.deleteRemoved('x', updated.entry.revision)).outcome, 'done')
  t.deepEqual(await registry.removed(), [])
  const first = await registry.addHost(hostRecord('h1', '1'))
  if (first.outcome !== 'done') return t.fail(first.outcome)
  t.is((await registry.addHost(hostRecord('h1', '2'))).outcome, 'refused')
  t.is((await registry.updateHost(hostRecord('h1', '2'), first.entry.revision)).outcome, 'done')
  t.is(
    (await registry.updateHost(hostRecord('h1', '3'), first.entry.revision)).outcome,
    'refused',
    'an expiry on an old view',
  )
  t.deepEqual(
    (await registry.hosts()).map(({ value }) => value.at),
    ['2'],
  )
})

test('a write whose answer is lost is unknown, and reading back tells what became of it', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  await using registry = await readyRegistry(host)
  const added = await registry.addVolume(volumeRecord('data'))
  if (added.outcome !== 'done') return t.fail(added.outcome)
  const pid = serverPid(host)
  await freeze(pid)
  try {
    const holder = { host: 'h1', incarnation: 'mine', since: 'now' }
    const answer = await registry.updateVolume({ ...added.entry.value, epoch: 1, holder }, added.entry.revision)
    t.is(answer.outcome, 'unknown')
    t.is(codeOf(await t.throwsAsync(registry.volume('data'))), 'REGISTRY_UNAVAILABLE')
  } finally {
    process.kill(pid, 'SIGCONT')
  }
  const read = await eventually('the record can be read again', () => registry.volume('data'))
  t.true(read.value.epoch === 0 || read.value.holder?.incarnation === 'mine')
  // Repeating it is safe: either it wins now, or it is refused because it had won.
  const holder = { host: 'h1', incarnation: 'mine', since: 'now' }
  const again = await registry.updateVolume({ ...added.entry.value, epoch: 1, holder }, added.entry.revision)
  t.is(again.outcome, read.value.epoch === 0 ? 'done' : 'refused')
  t.is((await registry.volume('data'))?.value.epoch, 1)
})

test('promise 10: a missing bucket is an error, not "no such volume", and is not made anew', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  await using registry = await readyRegistry(host)
  await registry.addVolume(volumeRecord('data'))
  const manager = await host.bus.connection().jetstreamManager({ checkAPI: false })
  await manager.streams.delete('KV_wherry_volumes')
  t.is(codeOf(await t.throwsAsync(registry.volume('data'))), 'REGISTRY_UNAVAILABLE')
  t.is(codeOf(await t.throwsAsync(registry.volumes())), 'REGISTRY_UNAVAILABLE')
  t.is((await registry.addVolume(volumeRecord('other'))).outcome, 'unknown')
  process.kill(serverPid(host), 'SIGKILL')
  await eventually('the loss is told', () => /lost its stream KV_wherry_volumes/.test(registry.state().detail))
  t.is(codeOf(await t.throwsAsync(registry.volume('data'))), 'REGISTRY_UNAVAILABLE')
})

test('who watches before the registry is ready is woken when it is', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  await using registry = await openRegistry(host)
  const woken = new Promise<boolean>((resolve) => {
    registry.watch(() => registry.state().ready && resolve(true), new AbortController().signal)
  })
  t.true(await woken)
})

test('promise 10: a registry whose store was lost is not replaced by an empty one, until a person says so', async (t) => {
  await using state = await scratch()
  {
    await using host = await startHost({ stateDir: state.dir })
    await using registry = await readyRegistry(host)
    t.is((await registry.addVolume(volumeRecord('data'))).outcome, 'done')
  }
  await rm(join(state.dir, 'nats', 'single'), { recursive: true })
  await using host = await startHost({ stateDir: state.dir })
  await using registry = await openRegistry(host)
  await eventually('the reason', () => /lost its stream KV_wherry_volumes/.test(registry.state().detail))
  t.is(codeOf(await t.throwsAsync(registry.volume('data'))), 'REGISTRY_UNAVAILABLE')
  await rm(host.embedded.seenPath)
  await using again = await openRegistry(host)
  await eventually('an empty registry', () => again.state().ready)
  t.is(await again.volume('data'), null)
})

test('a record that cannot be understood fails alone', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  await using registry = await readyRegistry(host)
  await registry.addVolume(volumeRecord('good'))
  await host.bus.connection().jetstream().publish('$KV.wherry_volumes.bad', '{"id": 7}')
  t.is(codeOf(await t.throwsAsync(registry.volume('bad'))), 'RECORD_INVALID')
  t.deepEqual(
    (await registry.volumes()).map(({ value }) => value.name),
    ['good'],
  )
  t.regex(registry.state().problems.join(), /bad .*cannot be understood/)
})

test('promise 10: a volume whose record cannot be read keeps its name among those that the plugin knows', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  await using registry = await readyRegistry(host)
  const told: string[] = []
  const cache = new VolumeCache({
    registry,
    named: (names) => void told.push(names.join(' ')),
    unreadable: () => registry.unreadableVolumes,
  })
  await registry.addVolume(volumeRecord('good'))
  await registry.addVolume(volumeRecord('my.data'))
  await cache.list()
  await host.bus.connection().jetstream().publish('$KV.wherry_volumes.my=2Edata', '{"id": 7}')
  await cache.list()
  t.is(told.at(-1), 'good my.data')
  const { value, revision } = (await registry.volume('good')) ?? t.fail()
  await registry.deleteVolume(value.name, revision)
  await cache.list()
  t.is(told.at(-1), 'my.data')
})

test('a record that says that it is another one than its key is not believed', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  await using registry = await readyRegistry(host)
  await registry.addHost(hostRecord('h1', ''))
  await registry.addVolume(volumeRecord('good'))
  const publish = (key: string, value: object) =>
    host.bus.connection().jetstream().publish(`$KV.${key}`, JSON.stringify(value))
  await publish('wherry_hosts.h3', { ...hostRecord('h1', ''), name: 'h3', address: 'evil' })
  await publish('wherry_volumes.evil', volumeRecord('good'))
  await publish('wherry_removed.evil', { id: 'other', name: 'evil', removedAt: '', hosts: ['h1'] })
  t.deepEqual(
    (await registry.hosts()).map(({ value }) => value.address),
    [hostRecord('h1', '').address],
  )
  t.deepEqual(
    (await registry.volumes()).map(({ value }) => value.name),
    ['good'],
  )
  t.deepEqual(await registry.removed(), [])
  t.is(codeOf(await t.throwsAsync(registry.volume('evil'))), 'RECORD_INVALID')
})

test('fields that a newer version wrote survive a change by this one', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  await using registry = await readyRegistry(host)
  const newer = JSON.stringify({ ...volumeRecord('data'), future: { deep: [1] } })
  await host.bus.connection().jetstream().publish('$KV.wherry_volumes.data', newer)
  const entry = await registry.volume('data')
  if (entry === null) return t.fail()
  await registry.updateVolume({ ...entry.value, epoch: 5 }, entry.revision)
  t.deepEqual((await registry.volume('data'))?.value, { ...JSON.parse(newer), epoch: 5 })
})

test('promise 11: kill -9 of the server loses nothing acknowledged; it comes back by itself and the watch goes on', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  await using registry = await readyRegistry(host)
  const wakes: (string | null)[] = []
  const stop = new AbortController()
  t.teardown(() => stop.abort())
  registry.watch((change) => wakes.push(change?.name ?? null), stop.signal)
  await eventually('the first wake', () => wakes.length > 0)
  t.is(wakes[0], null)
  await eventually('all records are followed', () => registry.followedVolumes())
  const added = await registry.addVolume(volumeRecord('da.ta'))
  await eventually('a wake after a change', () => wakes.includes('da.ta'))
  const pid = serverPid(host)
  process.kill(pid, 'SIGKILL')
  await eventually('the connection is lost', () => !host.bus.state().connected)
  t.is(codeOf(await t.throwsAsync(registry.addVolume(volumeRecord('lost')))), 'REGISTRY_UNAVAILABLE')
  wakes.length = 0
  const entry = await eventually('the record is there again', () => registry.volume('da.ta'))
  t.is(entry.revision, added.outcome === 'done' ? added.entry.revision : -1)
  t.not(serverPid(host), pid)
  await eventually('a wake after the reconnect', () => wakes.includes(null))
  await registry.deleteVolume('da.ta', entry.revision)
  await eventually('a wake after a removal', () => wakes.includes('da.ta'))
})

test('promise 10: while the registry is away the cache answers what was known, and never "not found"', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  await using registry = await readyRegistry(host)
  await registry.addVolume(volumeRecord('known'))
  const cache = new VolumeCache({ registry })
  t.like(await cache.get('known'), { stale: false, entry: { value: { name: 'known' } } })
  t.deepEqual(await cache.get('nowhere'), { entry: null, stale: false })
  await freeze(serverPid(host))
  try {
    t.like(await cache.get('known'), { stale: true, entry: { value: { name: 'known' } } })
    t.is(codeOf(await t.throwsAsync(cache.get('nowhere'))), 'REGISTRY_UNAVAILABLE')
    t.is(codeOf(await t.throwsAsync(cache.list())), 'REGISTRY_UNAVAILABLE')
  } finally {
    process.kill(serverPid(host), 'SIGCONT')
  }
  await eventually('the list is read', () => cache.list())
  await freeze(serverPid(host))
  try {
    const list = await cache.list()
    t.true(list.stale)
    t.deepEqual(
      list.entries.map(({ value }) => value.name),
      ['known'],
    )
  } finally {
    process.kill(serverPid(host), 'SIGCONT')
  }
})
