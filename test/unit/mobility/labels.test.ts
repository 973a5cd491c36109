import test from 'ava'
import { pino } from 'pino'
import type { Core } from '../../../agent/mobility/core.ts'
import { labelsOf, leadNodes } from '../../../agent/mobility/labels.ts'
import { followNodes } from '../../../agent/mobility/placement-node.ts'
import { Wakes } from '../../../agent/mobility/wakes.ts'
import type { HostRecord, VolumeRecord } from '../../../agent/model.ts'
import { VirtualClock } from './clock.ts'
import { OPTIONS } from './world.ts'

const copy = (state: 'current' | 'behind' | 'filling' | 'diverged') => ({ epoch: 1, seq: 1, state, at: '', kept: true })

function record(more: Partial<VolumeRecord> = {}): VolumeRecord {
  const bare = {
    id: 'v',
    name: 'data',
    options: OPTIONS,
    createdAt: '',
    epoch: 1,
    last: null,
    seizures: [],
    removedAt: null,
  }
  return { ...bare, holder: { host: 'a', incarnation: 'i', since: '' }, copies: {}, ...more }
}

/** A Swarm with a node for each host, and a bus that brings everything to everybody at once. */
function swarm() {
  const clock = new VirtualClock()
  const stop = new AbortController()
  const labels: Record<string, Record<string, string>> = { na: { zone: 'east', 'other.x': '1' }, nb: {}, nc: {} }
  const drained = new Set<string>()
  const listeners: [string, (message: unknown, subject: string) => void][] = []
  const writes: string[] = []
  let records: VolumeRecord[] = [record({ copies: { a: copy('current'), b: copy('behind') } })]
  const hosts = ['a', 'b', 'c'].map((id) => ({ id, swarmNode: `n${id}`, at: '2026-01-01T00:00:00Z' }) as HostRecord)
  const parts = {
    clock,
    signal: stop.signal,
    log: pino({ level: 'silent' }),
    bus: {
      publish: (subject: string, message: unknown) => {
        for (const [wanted, hear] of listeners) if (wanted === subject) hear(message, subject)
      },
      subscribe: (subject: string, hear: (message: unknown, subject: string) => void) =>
        void listeners.push([subject, hear]),
    },
    engine: {
      nodes: async () =>
        Object.entries(labels).map(([id, all]) => ({ id, labels: { ...all }, drained: drained.has(id) })),
      setNodeLabels: async (node: string, prefix: string, ours: Record<string, string>) => {
        writes.push(node)
        const others = Object.entries(labels[node] ?? {}).filter(([key]) => !key.startsWith(prefix))
        labels[node] = { ...Object.fromEntries(others), ...ours }
      },
    },
    cache: { list: async () => ({ entries: records.map((value) => ({ value, revision: 1 })), stale: false }) },
  }
  const coreOf = (id: string, leader: boolean) =>
    ({
      parts,
      wakes: new Wakes(),
      hosts: { all: () => hosts },
      engine: { name: id, swarmNode: `n${id}`, leader, zone: null, drained: false },
    }) as unknown as Core
  const set = (next: VolumeRecord[]) => {
    records = next
  }
  return { clock, stop, labels, drained, writes, coreOf, set, parts }
}

test('a node says of each volume whether its host holds it, has a copy, or has none', (t) => {
  const copies = { b: copy('current'), c: copy('behind'), d: copy('filling'), e: copy('diverged') }
  const roles = ['a', 'b', 'c', 'd', 'e', 'f', null].map((host) => labelsOf(host, [record({ copies })])['wherry.data'])
  t.deepEqual(roles, ['holder', 'copy', 'copy', 'none', 'none', 'none', 'none'])
  t.deepEqual(labelsOf('a', [record({ holder: null })]), {}, 'the first task of a new volume may go anywhere')
})

test("the leader keeps its labels true, leaves others' alone, and writes only what changed", async (t) => {
  const { clock, stop, labels, writes, coreOf, set } = swarm()
  void leadNodes(coreOf('a', true))
  await clock.advance(60_000)
  t.deepEqual(labels, {
    na: { zone: 'east', 'other.x': '1', 'wherry.data': 'holder' },
    nb: { 'wherry.data': 'copy' },
    nc: { 'wherry.data': 'none' },
  })
  t.is(writes.length, 3)
  set([
    record({ holder: { host: 'b', incarnation: 'j', since: '' }, copies: { a: copy('behind'), b: copy('current') } }),
  ])
  await clock.advance(6_000)
  t.deepEqual([labels.na?.['wherry.data'], labels.nb?.['wherry.data']], ['copy', 'holder'])
  t.is(writes.length, 5)
  set([])
  await clock.advance(6_000)
  t.deepEqual(labels, { na: { zone: 'east', 'other.x': '1' }, nb: {}, nc: {} })
  stop.abort()
})

test('every host learns from the leader of its zone and of being drained; a host that is not the leader writes nothing', async (t) => {
  const { clock, stop, drained, writes, coreOf, parts } = swarm()
  const [a, b, outside] = [coreOf('a', true), coreOf('b', false), coreOf('x', false)]
  outside.engine.drained = true
  for (const core of [a, b, outside]) followNodes(core)
  void leadNodes(b)
  await clock.advance(10_000)
  t.is(writes.length, 0)
  void leadNodes(a)
  await clock.advance(10_000)
  t.like(a.engine, { zone: 'east', drained: false })
  t.like(outside.engine, { zone: null, drained: false })
  drained.add('nb')
  await clock.advance(6_000)
  t.like(b.engine, { zone: null, drained: true })
  parts.bus.publish('schedule.nodes', { nb: 'nonsense' })
  t.true(b.engine.drained)
  stop.abort()
})
