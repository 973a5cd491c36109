import test from 'ava'
import fc from 'fast-check'
import { codeOf } from '../../../agent/model/errors.ts'
import type { VolumeRecord } from '../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { querySchema } from '../../../agent/transfer/wire/query-schema.ts'
import { eventually, scratch, startHost, type TestHost } from '../bus/server.ts'
import { World } from '../mobility/world.ts'
import { hostRecord, readyRegistry, removedRecord, volumeRecord } from '../registry/records.ts'
import { cases, isUnpolluted, nearly, nearlyText } from './hostile-json.ts'

const HASH = 'b'.repeat(64)
const CHECKPOINT = { epoch: 3, seq: 7, hash: HASH, at: '2026-01-02T03:04:05.678Z', bytes: 9, files: 1 }
const FULL: VolumeRecord = volumeRecord('hostile', {
  epoch: 4,
  holder: { host: 'h1', incarnation: 'i', since: CHECKPOINT.at },
  last: CHECKPOINT,
  seizures: [{ epoch: 4, from: 'h2', by: 'h1', at: CHECKPOINT.at, base: CHECKPOINT, ageSeconds: 2 }],
  copies: { h1: { epoch: 3, seq: 7, state: 'current', at: CHECKPOINT.at, kept: true } },
})
/** The deadline of the host that asks has passed, or it was told a code. */
const isCodedOrLate = (error: unknown) => codeOf(error) !== undefined || (error as Error).name === 'AbortError'
const isRefused = (error: unknown) => codeOf(error) === 'RECORD_INVALID'

/** Puts a text where the registry keeps a record, as any client of that nats-server can. */
async function put(host: TestHost, bucket: string, key: string, text: string): Promise<void> {
  await host.bus.connection().jetstream().publish(`$KV.${bucket}.${key}`, text)
}

test('registry: no record keeps the others from being read, and what is read has its shape', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  await using registry = await readyRegistry(host)
  t.is((await registry.addVolume(volumeRecord('good'))).outcome, 'done')
  t.is((await registry.addRemoved(removedRecord('gone'))).outcome, 'done')
  t.is((await registry.addHost(hostRecord('h1', CHECKPOINT.at))).outcome, 'done')
  const seen = { taken: 0, refused: 0 }
  const inputs = fc.tuple(nearlyText([FULL]), nearlyText([removedRecord('x')]), nearlyText([hostRecord('h2', '')]))
  await fc.assert(
    fc.asyncProperty(inputs, async ([volume, removed, beat]) => {
      await put(host, 'wherry_volumes', 'hostile', volume)
      await put(host, 'wherry_removed', 'x', removed)
      await put(host, 'wherry_hosts', 'h2', beat)
      await registry.volume('hostile').then(
        (entry) => {
          t.is(entry?.value.name, 'hostile', 'the record is that of its key')
          seen.taken++
        },
        (error: unknown) => {
          if (!isRefused(error)) throw error
          seen.refused++
        },
      )
      t.true((await registry.volumes()).some(({ value }) => value.name === 'good'))
      t.true((await registry.removed()).some(({ value }) => value.id === 'gone'))
      t.true((await registry.hosts()).some(({ value }) => value.id === 'h1'))
      return isUnpolluted()
    }),
    cases(60),
  )
  t.true(seen.taken > 0 && seen.refused > 0, JSON.stringify(seen))
})

test('bus: whatever is published, a subscriber gets values of JSON, and goes on', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  await eventually('the bus is connected', () => host.bus.state().connected)
  const heard: unknown[] = []
  const stop = new AbortController()
  t.teardown(() => stop.abort())
  host.bus.subscribe('hint.h1', (message) => void heard.push(message), stop.signal)
  const connection = host.bus.connection()
  await connection.flush()
  await fc.assert(
    fc.asyncProperty(nearlyText([{ name: 'data', id: 'id', epoch: 1 }]), async (text) => {
      connection.publish('wherry.v1.hint.h1', text)
      host.bus.publish('hint.h1', { name: 'after' })
      await connection.flush()
      await eventually('the next message arrives', () => {
        const last = heard.at(-1)
        return typeof last === 'object' && last !== null && 'name' in last && last.name === 'after'
      })
      t.true(heard.length <= 2, 'one message each')
      heard.length = 0
      return isUnpolluted()
    }),
    cases(150),
  )
})

test('messages: nothing that another host publishes keeps an agent from its work', async (t) => {
  const world = await World.start(2)
  const [h1, h2] = [world.host(1), world.host(2)]
  await h1.agent.create('data', { ...DEFAULT_OPTIONS, copies: 2 })
  await world.use(1, 'data', 'one')
  const { id } = await world.record('data')
  const samples = [
    { name: 'data', id, epoch: 1 },
    { name: 'data', id, host: 'h1', sources: ['h1', 'h2'] },
    { node1: { zone: 'a', drained: false }, node2: { zone: null, drained: true } },
    { host: 'h1', volume: 'data' },
  ]
  const subjects = [...h2.subscribers.keys()].map((wanted) => wanted.replace('*', id))
  t.true(subjects.length > 3, subjects.join(' '))
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...subjects), nearly(samples), async (subject, message) => {
      world.publish(h1, subject, message)
      await world.clock.advance(50)
      return isUnpolluted()
    }),
    cases(400),
  )
  await world.use(2, 'data', 'one two')
  t.is(h2.store.trees.get(id), 'one two')
})

test('queries: replies of another host are refused with their code, or have their shape', async (t) => {
  const world = await World.start(3)
  const [h1, h2, h3] = [world.host(1), world.host(2), world.host(3)]
  await h1.agent.create('data', { ...DEFAULT_OPTIONS, copies: 2 })
  await world.use(2, 'data', 'precious')
  await world.pass(20_000)
  const { id } = await world.record('data')
  const record = await world.record('data')
  const samples = [
    { kind: 'copy', volume: id },
    { kind: 'compare', volume: id, doubted: true },
    { kind: 'inventory' },
    { kind: 'surrender', volume: id, epoch: 3, incarnation: 'i', want: 'release' },
    { kind: 'references', volume: id, name: 'data', removing: true },
    { kind: 'offer', record: { ...record, epoch: 1_001, holder: null }, checkpoint: CHECKPOINT, from: 'h3' },
  ]
  await fc.assert(
    fc.asyncProperty(nearly(samples), async (query) => {
      const known = querySchema.safeParse(query)
      if (!known.success) return true
      const asked = world.peersOf(h3).ask({ address: 'h2', port: 1 }, known.data, world.clock.deadline(2_000))
      await world.clock.until(asked.catch((error: unknown) => t.true(isCodedOrLate(error), String(error))))
      return isUnpolluted()
    }),
    cases(300),
  )
  t.is(h2.store.trees.get(id), 'precious')
})
