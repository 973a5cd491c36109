import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { codeOf } from '../../../agent/model/errors.ts'
import type { JetStreamRegistry } from '../../../agent/registry/registry.ts'
import { TestCluster } from '../bus/cluster.ts'
import { eventually, natsServer, serverPid, startHost, type TestHost } from '../bus/server.ts'
import { openRegistry, readyRegistries, readyRegistry, volumeRecord } from './records.ts'

async function leaderOf(host: TestHost): Promise<string> {
  const manager = await host.bus.connection().jetstreamManager({ checkAPI: false })
  const info = await manager.streams.info('KV_wherry_volumes')
  if (info.config.num_replicas !== 3) throw new Error(`${info.config.num_replicas} replicas`)
  return info.cluster?.leader ?? ''
}

test('three servers over TLS: kill -9 of the leader during writes loses no acknowledged write', async (t) => {
  await using cluster = await TestCluster.create(3)
  const startedAt = performance.now()
  const hosts = await cluster.startAll()
  await using registries = await readyRegistries(hosts)
  const [registry] = registries.all as [JetStreamRegistry]
  t.is((await registry.addVolume(volumeRecord('first'))).outcome, 'done')
  t.log(`from start to the first write: ${Math.round(performance.now() - startedAt)} ms`)

  const acknowledged = new Map<string, number>()
  let longestGapMs = 0
  let unknown = 0
  const stop = new AbortController()
  const writer = async (from: JetStreamRegistry, prefix: string) => {
    let lastAt = performance.now()
    for (let n = 0; !stop.signal.aborted; n++) {
      const name = `${prefix}.${n}`
      try {
        const answer = await from.addVolume(volumeRecord(name))
        if (answer.outcome === 'unknown') unknown++
        if (answer.outcome === 'unknown') await sleep(20)
        if (answer.outcome !== 'done') continue
        acknowledged.set(name, answer.entry.revision)
      } catch (error) {
        if (codeOf(error) !== 'REGISTRY_UNAVAILABLE') throw error
        await sleep(20)
        continue
      }
      longestGapMs = Math.max(longestGapMs, performance.now() - lastAt)
      lastAt = performance.now()
    }
  }
  const writers = registries.all.map((one, n) => writer(one, `w${n}`))
  await eventually('some writes', () => acknowledged.size > 100)
  const leader = await leaderOf(hosts[0] as TestHost)
  const victim = hosts.find((host) => leader === `wherry-${host.address}`)
  if (victim === undefined) return t.fail(`no host runs the leader ${leader}`)
  process.kill(serverPid(victim), 'SIGKILL')
  const before = acknowledged.size
  await eventually('writes go on', () => acknowledged.size > before + 200)
  stop.abort()
  await Promise.all(writers)
  t.log(`longest time without a write around the kill: ${Math.round(longestGapMs)} ms; unknown: ${unknown}`)

  for (const one of registries.all) {
    const found = new Map((await eventually('a list', () => one.volumes())).map((e) => [e.value.name, e.revision]))
    t.deepEqual(
      [...acknowledged].filter(([name, revision]) => found.get(name) !== revision),
      [],
    )
  }
})

test('one of three servers is not enough: the error says how many are reachable, and that a known name is not gone', async (t) => {
  await using cluster = await TestCluster.create(3)
  const hosts = await cluster.startAll()
  await using registries = await readyRegistries(hosts)
  const [first, second, third] = hosts as [TestHost, TestHost, TestHost]
  const [registry] = registries.all as [JetStreamRegistry]
  t.is((await registry.addVolume(volumeRecord('data'))).outcome, 'done')
  for (const host of [second, third]) await host[Symbol.asyncDispose]()
  const wanted = /1 of 3 nats-servers reachable: 127\.0\.0\.2:\d+: connection refused; 127\.0\.0\.3/
  const error = await eventually('the error', async () => {
    const failure = await registry.volume('data').catch((reason: Error) => reason)
    return failure instanceof Error && wanted.test(failure.message) ? failure : null
  })
  t.is(codeOf(error), 'REGISTRY_UNAVAILABLE')
  const answer = await registry.updateVolume(volumeRecord('data'), 1).catch((e) => e)
  t.true(answer.outcome === 'unknown' || codeOf(answer) === 'REGISTRY_UNAVAILABLE')
  t.true(await eventually('the one server that is left is reached', () => first.bus.state().connected))
})

test('a second host joins a single one: its records are carried over, taken names are told and left alone', async (t) => {
  await using cluster = await TestCluster.create(3)
  const [one, two, three] = cluster.addresses as [string, string, string]
  for (const [address, names] of [
    [one, ['a', 'b.c', 'both']],
    [two, ['d', 'both']],
  ] as const) {
    await using alone = await startHost({ ...cluster.options(address), peers: [] })
    await using registry = await readyRegistry(alone)
    for (const name of names) {
      const added = await registry.addVolume(volumeRecord(name, { id: `${name}-${address}` }))
      t.is(added.outcome, 'done')
    }
  }
  const hosts = await cluster.startAll()
  await using registries = await readyRegistries(hosts)
  const [first, second] = registries.all as [JetStreamRegistry, JetStreamRegistry]
  const names = (await first.volumes()).map(({ value }) => value.name).sort()
  t.deepEqual(names, ['a', 'b.c', 'both', 'd'])
  const problems = [...first.state().problems, ...second.state().problems]
  t.is(problems.length, 1)
  t.regex(problems[0] ?? '', /Volume both .* was not carried over/)
  const kept = await Promise.all(hosts.map((host) => host.embedded.leftBehind()))
  t.deepEqual(kept.flat(), problems)
  for (const host of hosts) t.is(await host.embedded.oldStore(), null)
  t.is((await first.volume('a'))?.value.id, `a-${one}`)
  t.truthy(three)
})

test('promise 10: a host that was in a cluster refuses to start alone with an empty registry', async (t) => {
  await using cluster = await TestCluster.create(2)
  const hosts = await cluster.startAll()
  await using registries = await readyRegistries(hosts)
  t.is((await (registries.all[0] as JetStreamRegistry).addVolume(volumeRecord('data'))).outcome, 'done')
  const warned = hosts.map((host) => host.lines.filter((line) => line.msg === 'registry layout has a weakness').length)
  t.deepEqual(warned, [1, 1])
  await (hosts[0] as TestHost)[Symbol.asyncDispose]()
  const error = await t.throwsAsync(startHost({ ...cluster.options('127.0.0.1'), peers: [] }))
  t.is(codeOf(error), 'SETTING_INVALID')
})

test('a server that loses updates is refused for more than one replica, and serves a single host', async (t) => {
  const binary = await natsServer('tooOld')
  await using cluster = await TestCluster.create(2)
  t.is(codeOf(await t.throwsAsync(cluster.start('127.0.0.1', { binary }))), 'NATS_TOO_OLD')

  await using alone = await startHost({ ...cluster.options('127.0.0.2'), peers: [], binary })
  await using registry = await readyRegistry(alone)
  t.is((await registry.addVolume(volumeRecord('data'))).outcome, 'done')
  const wrong = await openRegistry({ ...alone, plan: { ...alone.plan, replicas: 3 } })
  await eventually('the refusal', () => /2\.9\.\d+ .*loses updates with 3 replicas/.test(wrong.state().detail))
  t.is(codeOf(await t.throwsAsync(wrong.volume('data'))), 'NATS_TOO_OLD')
  await wrong[Symbol.asyncDispose]()
})

test('replicas are raised when servers are added', async (t) => {
  await using cluster = await TestCluster.create(3)
  const [one, two, three] = cluster.addresses as [string, string, string]
  const pair = [one, two]
  {
    const hosts = await Promise.all(pair.map((address) => cluster.start(address, { peers: pair })))
    await using registries = await readyRegistries(hosts)
    t.is((await (registries.all[0] as JetStreamRegistry).addVolume(volumeRecord('data'))).outcome, 'done')
    for (const host of hosts) await host[Symbol.asyncDispose]()
  }
  const hosts = await Promise.all([one, two, three].map((address) => cluster.start(address)))
  await using registries = await readyRegistries(hosts)
  t.truthy(await eventually('three replicas', () => leaderOf(hosts[2] as TestHost)))
  t.is((await (registries.all[2] as JetStreamRegistry).volume('data'))?.value.name, 'data')
})
