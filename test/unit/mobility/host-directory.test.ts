import test from 'ava'
import { KnownHosts } from '../../../agent/mobility/lease/host-directory.ts'
import { HostReports } from '../../../agent/mobility/lease/host-reports.ts'
import { describeOtherLists, digestOfPeers, isGone } from '../../../agent/mobility/lease/peer-lists.ts'
import type { HostRecord } from '../../../agent/model/model.ts'
import type { Versioned } from '../../../agent/registry/contract.ts'
import type { Clock } from '../../../agent/runtime/clock.ts'
import { recordingLog } from '../bus/server.ts'

const LEASE_MS = 8_000

function clockAt(): Clock & { advance(ms: number): void } {
  let ms = 0
  return {
    now: () => new Date(1_700_000_000_000 + ms),
    elapsedMs: () => ms,
    sleep: async () => undefined,
    deadline: () => new AbortController().signal,
    advance: (by) => {
      ms += by
    },
  }
}

let revisions = 0

/** A heartbeat, each one newer than the one before. */
const host = (at: string, revision = ++revisions): Versioned<HostRecord> => ({ revision, value: record(at) })

const record = (at: string): HostRecord => ({
  id: 'a',
  name: 'h1',
  address: '10.0.0.1',
  transferPort: 7450,
  incarnation: 'i',
  swarmNode: null,
  uses: { v: ['db'] },
  covered: {},
  diverged: {},
  namesakes: [],
  at,
  renewal: 1,
  expiredBy: null,
  freeBytes: 1,
  totalBytes: 2,
  zone: null,
  draining: false,
})

test('a host is alive while its heartbeat changes, by the clock of the one who watches', (t) => {
  const clock = clockAt()
  const hosts = new KnownHosts(clock, LEASE_MS)
  hosts.see([host(clock.now().toISOString())])
  clock.advance(5_000)
  // The other host's clock stands an hour back: only that its heartbeat changed counts.
  const newest = host('2023-11-14T21:13:25Z')
  hosts.see([newest])
  clock.advance(LEASE_MS - 1)
  t.true(hosts.alive('a'))
  clock.advance(1)
  t.false(hosts.alive('a'))
  hosts.see([newest])
  hosts.see([host('2023-11-14T21:13:24Z', newest.revision - 1)])
  t.false(hosts.alive('a'), 'the same heartbeat read again is no proof of life, and a stale one neither')
  t.is(hosts.labelWithAge('a'), 'h1 (10.0.0.1), not heard from for 8 s')
})

test('a host nobody has heard of is named by its id and not alive', (t) => {
  const hosts = new KnownHosts(clockAt(), LEASE_MS)
  t.false(hosts.alive('zz'))
  t.is(hosts.labelWithAge('zz'), 'host zz, never heard from')
  t.deepEqual([...hosts.containers('zz', 'v')], [])
})

test('a heartbeat left behind by a host that is long gone does not make it alive', (t) => {
  const clock = clockAt()
  const hosts = new KnownHosts(clock, LEASE_MS)
  hosts.see([host(new Date(clock.now().getTime() - 60_000).toISOString())])
  t.false(hosts.alive('a'))
  t.deepEqual([...hosts.containers('a', 'v')], ['db'])
})

test('who is away is known once heartbeats were watched for as long as a lease runs', (t) => {
  const clock = clockAt()
  const hosts = new KnownHosts(clock, LEASE_MS)
  const hourAgo = new Date(clock.now().getTime() - 3_600_000).toISOString()
  clock.advance(60_000)
  t.false(hosts.knowsAway, 'nothing was read yet')
  hosts.see([host(hourAgo)])
  for (const passedMs of [0, LEASE_MS - 1]) {
    clock.advance(passedMs)
    t.false(hosts.alive('a'))
    t.deepEqual([hosts.awaySince('a', 'at'), hosts.awaySince('zz', 'at')], [null, null], 'neither alive nor away')
  }
  clock.advance(1)
  t.is(Date.parse(hosts.awaySince('a', 'at') ?? ''), Date.parse(hourAgo))
  t.is(hosts.awaySince('zz', 'at'), 'at', 'its heartbeat is not in the registry any more')
})

test('promise 6: heartbeats of a registry that was lost and counts its revisions anew are heard, those of a stale read are not', (t) => {
  const clock = clockAt()
  const hosts = new KnownHosts(clock, LEASE_MS)
  const beat = (revision: number, more: Partial<HostRecord>) => {
    hosts.see([{ revision, value: { ...record(clock.now().toISOString()), ...more } }])
  }
  beat(50, { renewal: 40 })
  clock.advance(LEASE_MS)
  t.false(hosts.alive('a'))
  beat(50, { renewal: 41 })
  t.true(hosts.alive('a'), 'the same revision by chance')
  t.is(hosts.heartbeat('a')?.entry.value.renewal, 41)
  clock.advance(LEASE_MS)
  beat(3, { renewal: 42 })
  t.true(hosts.alive('a'), 'a lower one')
  t.is(hosts.heartbeat('a')?.entry.revision, 3)
  clock.advance(LEASE_MS)
  beat(2, { renewal: 1, incarnation: 'new' })
  t.true(hosts.alive('a'), 'of an agent that was never heard of')
  clock.advance(LEASE_MS)
  beat(1, { renewal: 43 })
  beat(2, { renewal: 1, incarnation: 'new' })
  t.false(hosts.alive('a'), 'what an agent before said is no sign of life')
})

test('a host that is away is one line when it goes and one when it is back; an outage of the registry is none', (t) => {
  const clock = clockAt()
  const hosts = new KnownHosts(clock, LEASE_MS)
  const { log, lines } = recordingLog('info')
  const dependencies = { clock, log, self: { id: 'me' }, leaseMs: LEASE_MS, heartbeatMs: 1_000 }
  const reports = new HostReports({ hosts, dependencies })
  const watch = (seconds: number, isAlive: boolean) => {
    for (let second = 0; second < seconds; second++) {
      clock.advance(1_000)
      hosts.see(isAlive ? [host(clock.now().toISOString())] : [])
      reports.report()
    }
  }
  watch(30, true)
  clock.advance(60_000)
  watch(30, true)
  t.deepEqual(lines, [], 'nothing was read meanwhile')
  watch(60, false)
  watch(30, true)
  t.deepEqual(
    lines.map(({ msg, host }) => [msg, host]),
    [
      ['host away', 'h1 (10.0.0.1)'],
      ['host back', 'h1 (10.0.0.1)'],
    ],
  )
})

test('a living host with another list of peers is named, in the notes and in the list of hosts', (t) => {
  const clock = clockAt()
  const hosts = new KnownHosts(clock, LEASE_MS)
  const at = clock.now().toISOString()
  const mine = digestOfPeers(['10.0.0.1', '10.0.0.2'])
  const of = (id: string, peers?: string) => ({ revision: 1, value: { ...record(at), id, name: id, peers } })
  hosts.see([of('me', mine), of('same', mine), of('older'), of('mixed', digestOfPeers(['10.0.0.2', '10.0.0.1']))])
  const peerAddresses = ['10.0.0.1', '10.0.0.2'].map((address) => ({ address, port: 1 }))
  const context = { hosts, dependencies: { self: { id: 'me' }, peerAddresses } } as never
  t.regex(describeOtherLists(context).join(), /another WHERRY_PEERS than this one: mixed \(10\.0\.0\.1\)\. Give every/)
  clock.advance(LEASE_MS)
  t.deepEqual(describeOtherLists(context), [], 'what a host that is away had is no matter')
})

test('a host that is away is gone once it is not listed any more, or another living host has its address', (t) => {
  const clock = clockAt()
  const hosts = new KnownHosts(clock, LEASE_MS)
  let revision = 1
  const beat = (id: string, address: string) => {
    const value = { ...record(clock.now().toISOString()), id, name: id, address, renewal: revision }
    hosts.see([{ revision: revision++, value }])
  }
  const peerAddresses = ['10.0.0.1', '10.0.0.2', '10.0.0.3'].map((address) => ({ address, port: 1 }))
  const context = { hosts, dependencies: { self: { id: 'me' }, peerAddresses } } as never
  const gone = () => hosts.all().flatMap((host) => (isGone(context, host) ? [host.id] : []))
  for (const [id, address] of [
    ['old', '10.0.0.2'],
    ['removed', '10.0.0.9'],
    ['down', '10.0.0.3'],
  ] as const)
    beat(id, address)
  beat('me', '10.0.0.1')
  t.deepEqual(gone(), [], 'they are alive')
  clock.advance(LEASE_MS)
  beat('me', '10.0.0.1')
  t.deepEqual(gone(), ['removed'])
  beat('new', '10.0.0.2')
  t.deepEqual(gone(), ['old', 'removed'])
  clock.advance(LEASE_MS + 1)
  t.deepEqual(gone(), [], 'without the registry nobody knows')
})
