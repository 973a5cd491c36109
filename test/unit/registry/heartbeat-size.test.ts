import test from 'ava'
import { describeHost } from '../../../agent/mobility/lease/heartbeat.ts'
import { codeOf } from '../../../agent/model/errors.ts'
import type { LocalCopy } from '../../../agent/store/contract.ts'
import { scratch, startHost } from '../bus/server.ts'
import { HeldKit, ID } from '../mobility/held-kit.ts'
import { hostRecord, readyRegistry, volumeRecord } from './records.ts'

const VOLUMES = 20_000
const LONG = 'stack_service-with-a-long-name.1.abcdefghijklmnopqrstuvwxy'

/** A host that holds many volumes, and whose lists are as long as they get. */
async function busyHost() {
  const kit = await HeldKit.start(1)
  const { context, store } = kit.host('h1')
  const copy = await store.copy(ID)
  if (copy === null) throw new Error('the kit holds no volume')
  const tree = { name: 'd', epoch: 1, base: null, at: '2026-01-01T00:00:00Z', bytes: 1 }
  const copies = Array.from({ length: VOLUMES }, (_, n): LocalCopy => {
    const id = `01J${String(n).padStart(23, '0')}`
    return { ...copy, id, name: `volume-${n}`, diverged: [tree], damaged: ['x'.repeat(4_000)] }
  })
  const trouble = { code: 'DISK_FULL' as const, text: 'x'.repeat(4_000), since: '2026-01-01T00:00:00Z' }
  const troubles = Object.fromEntries(copies.slice(0, 50).map(({ id }) => [id, trouble]))
  const users = Object.fromEntries(copies.slice(0, 2_000).map(({ name }) => [name, [LONG]]))
  const covered = { epoch: 7, seq: 1_000, hash: 'f'.repeat(64), at: '2026-01-01T00:00:00.000Z' }
  const busy = {
    ...context,
    containerUses: Object.assign(Object.create(context.containerUses), { live: () => [LONG], referrers: () => users }),
    checkpointScheduler: Object.assign(Object.create(context.checkpointScheduler), {
      covered: () => covered,
      late: () => troubles,
    }),
    releaseTroubles: Object.assign(Object.create(context.releaseTroubles), { all: () => troubles }),
  }
  const heartbeat = { ...hostRecord('h1', '2026-01-01T00:00:00Z'), ...describeHost(busy, copies) }
  kit.stop()
  return heartbeat
}

test('a host that holds 20,000 volumes renews its lease: its heartbeat is never too large for NATS', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  await using registry = await readyRegistry(host)
  const heartbeat = await busyHost()
  t.is((await registry.addHost(heartbeat)).outcome, 'done')
  const [found] = await registry.hosts()
  t.is(found?.value.holds, VOLUMES)
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
