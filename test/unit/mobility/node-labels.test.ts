import test from 'ava'
import { pino } from 'pino'
import { followNodes } from '../../../agent/mobility/swarm/node-facts.ts'
import { labelledRecords, labelsOf, leadNodes } from '../../../agent/mobility/swarm/node-labels.ts'
import { KeyedWakeups } from '../../../agent/mobility/wakeups.ts'
import type { HostRecord, VolumeRecord } from '../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { VirtualClock } from '../../fake/clock.ts'

const copy = (state: 'current' | 'behind' | 'filling' | 'diverged') => ({ epoch: 1, seq: 1, state, at: '', kept: true })

function record(more: Partial<VolumeRecord> = {}): VolumeRecord {
  const bare = {
    id: 'v',
    name: 'data',
    options: DEFAULT_OPTIONS,
    createdAt: '',
    epoch: 1,
    last: null,
    seizures: [],
    removedAt: null,
  }
  return { ...bare, holder: { host: 'a', incarnation: 'i', since: '' }, copies: {}, ...more }
}

/** What an update of a node takes from its read to its write, by this agent and by the docker command. */
const OURS_MS = 5
const THEIRS_MS = 60

/**
 * A Swarm with a node for each host, which takes a change only of a node's newest version, and a bus that brings
 * everything to everybody at once.
 */
function swarm() {
  const clock = new VirtualClock()
  const stop = new AbortController()
  const labels: Record<string, Record<string, string>> = { na: { zone: 'east', 'other.x': '1' }, nb: {}, nc: {} }
  const drained = new Set<string>()
  const listeners: [string, (message: unknown, subject: string) => void][] = []
  const writes: string[] = []
  const versions: Record<string, number> = { na: 1, nb: 1, nc: 1 }
  /** As swarmkit does it: "update out of sequence". */
  const update = (node: string, version: number, change: () => void): boolean => {
    if (versions[node] !== version) return false
    versions[node] = version + 1
    change()
    return true
  }
  /** `docker node update --label-add`: false when it fails. */
  const operate = async (node: string, nth: number): Promise<boolean> => {
    const version = versions[node] ?? 0
    const before = labels[node]
    await clock.sleep(THEIRS_MS, stop.signal)
    const done = update(node, version, () => {
      labels[node] = { ...before, mine: String(nth) }
    })
    parts.bus.publish('schedule.node', {})
    return done
  }
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
        Object.entries(labels).map(([id, all]) => ({
          id,
          version: versions[id] ?? 0,
          labels: { ...all },
          drained: drained.has(id),
        })),
      setNodeLabels: async (node: string, version: number, prefix: string, ours: Record<string, string>) => {
        const others = Object.entries(labels[node] ?? {}).filter(([key]) => !key.startsWith(prefix))
        await clock.sleep(OURS_MS, stop.signal)
        return update(node, version, () => {
          writes.push(node)
          labels[node] = { ...Object.fromEntries(others), ...ours }
        })
      },
    },
    cache: { list: async () => ({ entries: records.map((value) => ({ value, revision: 1 })), stale: false }) },
  }
  const coreOf = (id: string, leader: boolean) => ({
    dependencies: parts,
    wakeups: new KeyedWakeups(),
    hosts: { all: () => hosts },
    node: { name: id, swarmNode: `n${id}`, leader, zone: null, drained: false },
  })
  const set = (next: VolumeRecord[]) => {
    records = next
  }
  /** The volume moves to the other of two hosts. */
  const move = (name: string, host: string) => {
    const holder = { host, incarnation: `${clock.elapsedMs()}`, since: '' }
    const copies = { a: copy('behind'), b: copy('behind'), [host]: copy('current') }
    const others = records.filter((record) => record.name !== name)
    records = [...others, record({ id: name, name, holder, copies })].sort((x, y) => (x.name < y.name ? -1 : 1))
  }
  return { clock, stop, labels, drained, writes, coreOf, set, parts, operate, move }
}

test('a node says of each volume whether its host holds it, has a copy, or has none', (t) => {
  const copies = { b: copy('current'), c: copy('behind'), d: copy('filling'), e: copy('diverged') }
  const roles = ['a', 'b', 'c', 'd', 'e', 'f', null].map((host) => labelsOf(host, [record({ copies })])['wherry.data'])
  t.deepEqual(roles, ['holder', 'copy', 'copy', 'none', 'none', 'none', 'none'])
  const { labelled } = labelledRecords([record({ holder: null })])
  t.deepEqual(labelled, [], 'the first task of a new volume may go anywhere')
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
  await clock.advance(100_000)
  t.is(writes.length, 3, 'who of two hosts with data holds it waits until the volumes are still')
  await clock.advance(30_000)
  t.deepEqual([labels.na?.['wherry.data'], labels.nb?.['wherry.data']], ['copy', 'holder'])
  t.is(writes.length, 5)
  set([record({ holder: { host: 'b', incarnation: 'j', since: '' }, copies: { b: copy('current') } })])
  await clock.advance(6_000)
  t.is(labels.na?.['wherry.data'], 'none', 'where no data is any more is told at once')
  set([])
  await clock.advance(20_000)
  t.deepEqual(labels, { na: { zone: 'east', 'other.x': '1' }, nb: {}, nc: {} })
  stop.abort()
})

test('every host learns from the leader of its zone and of being drained; a host that is not the leader writes nothing', async (t) => {
  const { clock, stop, drained, writes, coreOf, parts } = swarm()
  const [a, b, outside] = [coreOf('a', true), coreOf('b', false), coreOf('x', false)]
  outside.node.drained = true
  for (const core of [a, b, outside]) followNodes(core)
  void leadNodes(b)
  await clock.advance(10_000)
  t.is(writes.length, 0)
  void leadNodes(a)
  await clock.advance(10_000)
  t.like(a.node, { zone: 'east', drained: false })
  t.like(outside.node, { zone: null, drained: false })
  drained.add('nb')
  await clock.advance(6_000)
  t.like(b.node, { zone: null, drained: true })
  parts.bus.publish('schedule.nodes', { nb: 'nonsense' })
  t.true(b.node.drained)
  stop.abort()
})

test("while volumes move all the time, nobody's change of a node fails by a label", async (t) => {
  const { clock, stop, labels, writes, coreOf, parts, operate, move } = swarm()
  const names = ['data', 'logs', 'mail']
  for (const name of names) move(name, 'a')
  void leadNodes(coreOf('a', true))
  await clock.advance(60_000)
  const before = writes.length
  const failed: number[] = []
  const operating = (async () => {
    for (let nth = 0; nth < 300; nth++) {
      if (!(await operate(['na', 'nb', 'nc'][nth % 3] ?? 'na', nth))) failed.push(nth)
      await clock.sleep(nth % 50 === 0 ? 15_000 : 150, stop.signal)
    }
  })()
  for (let nth = 0; nth < 60; nth++) {
    for (const name of names) move(name, nth % 2 === 0 ? 'b' : 'a')
    parts.bus.publish('schedule.node', {})
    await clock.advance(3_000)
  }
  await clock.until(operating)
  t.deepEqual(failed, [])
  t.is(writes.length, before, 'nothing was written: where data is has not changed')
  await clock.advance(150_000)
  t.like(labels.na, { 'wherry.data': 'holder', 'wherry.logs': 'holder', 'wherry.mail': 'holder' })
  t.is(writes.length, before, 'the volumes are back where they were')
  stop.abort()
})

test('a node that somebody changes over and over is left alone until it is quiet, and then has all its labels in one write', async (t) => {
  const { clock, stop, labels, writes, coreOf, operate, move } = swarm()
  void leadNodes(coreOf('a', true))
  await clock.advance(60_000)
  const before = writes.length
  const failed: number[] = []
  const operating = (async () => {
    for (let nth = 0; nth < 300; nth++) if (!(await operate('nc', nth))) failed.push(nth)
  })()
  await clock.advance(1_000)
  for (const name of ['logs', 'mail']) move(name, 'c')
  await clock.until(operating)
  t.deepEqual(failed, [])
  t.is(labels.nc?.['wherry.logs'], undefined)
  await clock.advance(20_000)
  t.like(labels.nc, { 'wherry.logs': 'holder', 'wherry.mail': 'holder', mine: '299' })
  t.is(
    writes.filter((node) => node === 'nc').length - writes.slice(0, before).filter((node) => node === 'nc').length,
    1,
  )
  stop.abort()
})

test('a label that loses against somebody else is written later', async (t) => {
  const { clock, stop, labels, coreOf, operate } = swarm()
  const core = coreOf('a', true)
  let racing = 3
  const { setNodeLabels } = core.dependencies.engine
  Object.assign(core.dependencies.engine, {
    setNodeLabels: async (...args: Parameters<typeof setNodeLabels>) => {
      if (racing-- > 0) await operate(args[0], racing)
      return await setNodeLabels(...args)
    },
  })
  void leadNodes(core)
  await clock.advance(120_000)
  t.is(labels.na?.['wherry.data'], 'holder')
  stop.abort()
})

test('labels of nodes are not compared again while neither node nor volumes change', async (t) => {
  const { clock, stop, coreOf, parts, set } = swarm()
  let compared = 0
  const counted = (labels: Record<string, string>) =>
    new Proxy(labels, {
      ownKeys(target) {
        compared++
        return Reflect.ownKeys(target)
      },
    })
  const nodes = async () => (await parts.engine.nodes()).map((node) => ({ ...node, labels: counted(node.labels) }))
  const core = coreOf('a', true)
  void leadNodes({ ...core, dependencies: { ...parts, engine: { ...parts.engine, nodes } } })
  await clock.advance(60_000)
  t.true(compared > 0)
  compared = 0
  await clock.advance(600_000)
  t.is(compared, 0)
  set([record({ copies: { a: copy('current') } })])
  await clock.advance(10_000)
  t.true(compared > 0)
  stop.abort()
})
