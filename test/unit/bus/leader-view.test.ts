import test from 'ava'
import type { LeaderView } from '../../../agent/bus/contract.ts'
import { createLeaderView, type Monitored } from '../../../agent/bus/leader-view.ts'
import type { NatsPlan } from '../../../agent/bus/plan.ts'
import { planNats } from '../../../agent/bus/plan.ts'
import { codeOf } from '../../../agent/model/errors.ts'
import { streamOf } from '../../../agent/registry/bucket.ts'
import { BUCKETS } from '../../../agent/registry/setup.ts'
import { readyRegistries, readyRegistry, volumeRecord } from '../registry/records.ts'
import { TestCluster } from './cluster.ts'
import { eventually, freeze, natsServer, scratch, serverPid, startHost, type TestHost } from './server.ts'

const STREAM = streamOf(BUCKETS.hosts)
/** Two seconds of silence, the rest for a busy machine; a lease ends after 8 s. */
const LEADERLESS_WITHIN_MS = 4_500

function sightOf(host: TestHost): () => Promise<LeaderView> {
  return createLeaderView({ plan: host.plan, advertise: host.address, server: host.embedded, stream: STREAM })
}

const LEADER = { server: true, leader: true }
const NONE = { server: true, leader: false }

/** Waits until the host's sight is what it should be; answers how long that took, and how long the slowest answer. */
async function sees(host: TestHost, wanted: LeaderView): Promise<number> {
  const leaderView = sightOf(host)
  const startedMs = performance.now()
  await eventually(`${host.address} sees ${JSON.stringify(wanted)}`, async () => {
    const seen = await leaderView()
    if (seen.server !== wanted.server || seen.leader !== wanted.leader) throw new Error(JSON.stringify(seen))
    return true
  })
  return Math.round(performance.now() - startedMs)
}

for (const which of ['newest', 'older'] as const) {
  test(`promise 6: three servers, one stopped, another fallen silent, back again (${which} nats-server)`, async (t) => {
    const binary = await natsServer(which)
    await using cluster = await TestCluster.create(3)
    const hosts = await Promise.all(cluster.addresses.map((address) => cluster.start(address, { binary })))
    const [first, second, third] = hosts as [TestHost, TestHost, TestHost]
    await using registries = await readyRegistries([first])
    const [registry] = registries.all
    for (const host of hosts) await sees(host, LEADER)

    await third[Symbol.asyncDispose]()
    t.deepEqual(await sightOf(third)(), NONE)
    for (const host of [first, second]) await sees(host, LEADER)
    // A write in the middle of an election may be answered by nobody: it is made again until one is.
    const write = async () => {
      const outcome = (await registry?.addVolume(volumeRecord('data')))?.outcome
      return outcome === 'unknown' ? undefined : outcome
    }
    t.truthy(await eventually('a write that is answered', write))

    // As abruptly as a power cut.
    const pid = serverPid(second)
    await freeze(pid)
    const tookMs = await sees(first, NONE)
    t.log(`one of three says that there is no leader after ${tookMs} ms`)
    t.true(tookMs < LEADERLESS_WITHIN_MS, `${tookMs} ms`)

    process.kill(pid, 'SIGCONT')
    const backMs = await sees(first, LEADER)
    await sees(second, LEADER)
    t.log(`a leader again after ${backMs} ms more`)
    t.deepEqual(await sightOf(third)(), NONE)
  })
}

test('promise 6: of a server that runs and says nothing nobody knows; the others see the next leader', async (t) => {
  await using cluster = await TestCluster.create(3)
  const hosts = await cluster.startAll()
  await using registries = await readyRegistries(hosts)
  t.is(registries.all.length, 3)
  for (const host of hosts) await sees(host, LEADER)
  const manager = await (hosts[0] as TestHost).bus.connection().jetstreamManager({ checkAPI: false })
  const leader = (await manager.streams.info(STREAM)).cluster?.leader
  const victim = hosts.find((host) => leader === `wherry-${host.address}`) as TestHost
  const others = hosts.filter((host) => host !== victim)
  const pid = serverPid(victim)
  await freeze(pid)
  try {
    const startedMs = performance.now()
    t.is(codeOf(await t.throwsAsync(sightOf(victim)())), 'NATS_SERVER_FAILED')
    // A second, and some for a busy machine.
    t.true(performance.now() - startedMs < 1_500)
    for (const host of others) await sees(host, LEADER)
  } finally {
    process.kill(pid, 'SIGCONT')
  }
  await sees(victim, LEADER)
})

test('five servers, three replicas: a server without one claims no leader', async (t) => {
  await using cluster = await TestCluster.create(5)
  const hosts = await cluster.startAll()
  await using registries = await readyRegistries(hosts.slice(0, 1))
  t.is(registries.all.length, 1)
  const manager = await (hosts[0] as TestHost).bus.connection().jetstreamManager({ checkAPI: false })
  const { leader = '', replicas = [] } = (await manager.streams.info(STREAM)).cluster ?? {}
  const members = new Set([leader, ...replicas.map(({ name }) => name)])
  for (const host of hosts) await sees(host, members.has(`wherry-${host.address}`) ? LEADER : NONE)
})

test('a server that is alone leads while it runs', async (t) => {
  await using state = await scratch()
  const host = await startHost({ stateDir: state.dir })
  try {
    await using _registry = await readyRegistry(host)
    // One question may time out on a busy machine: whoever asks asks again.
    await sees(host, LEADER)
  } finally {
    await host[Symbol.asyncDispose]()
  }
  t.deepEqual(await sightOf(host)(), NONE)
})

const SETTINGS = { advertise: '10.0.0.1', urls: [], clientPort: 1, clusterPort: 2 }
const PEERS = ['10.0.0.1', '10.0.0.2', '10.0.0.3']

function fixed(answer: unknown, plan: NatsPlan = planNats({ ...SETTINGS, peers: PEERS })) {
  const server: Monitored = { monitor: async () => answer }
  return createLeaderView({ plan, advertise: SETTINGS.advertise, server, stream: STREAM })()
}

const jsz = (cluster: unknown, name = STREAM) => ({ account_details: [{ stream_detail: [{ name, cluster }] }] })
const member = (n: number, seconds: number) => ({ name: `wherry-10.0.0.${n}`, active: seconds * 1e9, current: true })

test('a leader that has not heard from a majority for 2 s is none, nor is one that has not been heard from', async (t) => {
  const leader = 'wherry-10.0.0.1'
  const other = 'wherry-10.0.0.2'
  t.deepEqual(await fixed(jsz({ leader, replicas: [member(2, 1), member(3, 60)] })), LEADER)
  t.deepEqual(await fixed(jsz({ leader, replicas: [member(2, 2.1), member(3, 2.1)] })), NONE)
  t.deepEqual(await fixed(jsz({ leader, replicas: [member(2, 0), member(3, 2.1)] })), NONE)
  t.deepEqual(await fixed(jsz({ leader: other, replicas: [member(2, 1.9), member(3, 60)] })), LEADER)
  t.deepEqual(await fixed(jsz({ leader: other, replicas: [member(2, 2.1), member(3, 0)] })), NONE)
  t.deepEqual(await fixed(jsz({ replicas: [member(2, 0), member(3, 0)] })), NONE)
  const ofVolumes = streamOf(BUCKETS.volumes)
  t.deepEqual(await fixed(jsz({ leader: other, replicas: [member(2, 1)] }, ofVolumes)), NONE, 'it ends no lease')
  t.deepEqual(await fixed({ disabled: true }), NONE)
  t.deepEqual(await fixed(undefined), NONE)
  await t.throwsAsync(fixed(jsz(7)), { code: 'NATS_SERVER_FAILED' })
})

test('hosts that run no server have no say', async (t) => {
  const peers = PEERS.map((address) => address.replace('10.0.0', '10.0.1'))
  const answer = jsz({ leader: 'wherry-10.0.1.1', replicas: [] })
  t.deepEqual(await fixed(answer, planNats({ ...SETTINGS, peers })), { server: false, leader: false })
  t.deepEqual(await fixed(answer, planNats({ ...SETTINGS, peers, urls: ['tls://x'] })), {
    server: false,
    leader: false,
  })
})
