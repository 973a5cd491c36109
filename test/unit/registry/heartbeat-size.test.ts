import test from 'ava'
import { boundList } from '../../../agent/mobility/lease/heartbeat-bounds.ts'
import { codeOf } from '../../../agent/model/errors.ts'
import { scratch, startHost } from '../bus/server.ts'
import { BUSY_VOLUMES, busyHeartbeat } from './busy-host.ts'
import { readyRegistry, volumeRecord } from './records.ts'

test('a host that holds 20,000 volumes renews its lease: its heartbeat is never too large for NATS', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  await using registry = await readyRegistry(host)
  const heartbeat = await busyHeartbeat()
  t.is((await registry.addHost(heartbeat)).outcome, 'done')
  const [found] = await registry.hosts()
  t.is(found?.value.holds, BUSY_VOLUMES)
  t.is(found?.value.referrers, undefined, 'part of that list would say that a container does not exist')
  const { uses, covered, diverged } = heartbeat
  for (const list of [uses, covered, diverged]) t.true(Object.keys(list).length > 100)
})

test('a record that is too large for NATS is refused with its size, and a message is left out', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  await using registry = await readyRegistry(host)
  const createdAt = 'x'.repeat(2_000_000)
  const adding = registry.addVolume(volumeRecord('data', { createdAt }))
  const error = await t.throwsAsync(adding, {
    message: /The record of data has 2000\d\d\d bytes; NATS takes 1048576\./,
  })
  t.is(codeOf(error), 'INTERNAL')
  t.notThrows(() => host.bus.publish('volume.x.held', { name: 'x'.repeat(2_000_000) }))
})

test('what a heartbeat leaves out does not depend on the order in which the disk was read', (t) => {
  const entries = Array.from({ length: 5_000 }, (_, n) => [`volume-${n}`, ['container']] as const)
  const bounded = boundList(entries)
  t.true(Object.keys(bounded).length < entries.length)
  t.deepEqual(boundList(entries.toReversed()), bounded)
})
