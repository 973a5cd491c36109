import { readFileSync } from 'node:fs'
import test from 'ava'
import { describeConditions } from '../../../agent/api/format.ts'
import { Metrics } from '../../../agent/metrics/metrics.ts'
import { WherryError } from '../../../agent/model/errors.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { createMemoryMobility } from '../api/memory-mobility.ts'
import { type MemoryHost, World } from '../mobility/world.ts'

const DEADLINE_MS = 100_000

/** The samples of a scrape, by name and labels in the order of the alphabet; every one of them must be of that host. */
async function scrape(host: MemoryHost): Promise<Map<string, number>> {
  return samplesOf(await host.metrics.scrape(host.agent), host.name)
}

function samplesOf(text: string, host: string): Map<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(
    lines.map((line) => {
      const [, name, labels = '', value] = /^(\w+)\{(.*)\} (\S+)$/.exec(line) ?? []
      const pairs = labels.match(/\w+="[^"]*"/g)?.toSorted() ?? []
      if (!pairs.includes(`host="${host}"`)) throw new Error(`not a sample of ${host}: ${line}`)
      const others = pairs.filter((pair) => !pair.startsWith('host='))
      return [`${name}{${others.join()}}`, value === '+Inf' ? Number.POSITIVE_INFINITY : Number(value)]
    }),
  )
}

function run(host: MemoryHost): void {
  host.users = [{ id: `c-${host.name}`, name: `db-${host.name}`, state: 'running', volumes: ['data'] }]
}

/** Three hosts; the first runs a container with the volume, whose checkpoint the second has. */
async function heldWithCopy() {
  const world = await World.start(3)
  await world.host(1).agent.create('data', DEFAULT_OPTIONS)
  await world.use(2, 'data', 'zero')
  await world.clock.until(world.host(1).agent.mount('data', 'm', DEADLINE_MS))
  const { id } = await world.record('data')
  world.host(1).store.trees.set(id, 'one')
  run(world.host(1))
  await world.pass(30_000)
  return { world, id, holder: world.host(1), other: world.host(2) }
}

test('the metrics of a volume in use say how much a loss of its host would cost, and what its checkpoints did', async (t) => {
  const { holder, other } = await heldWithCopy()
  const [here, there] = [await scrape(holder), await scrape(other)]
  t.is(here.get('wherry_volume_held{volume="data"}'), 1)
  t.is(there.get('wherry_volume_held{volume="data"}'), 0)
  const age = here.get('wherry_checkpoint_age_seconds{volume="data"}') ?? Infinity
  t.true(age >= 0 && age <= 12, `${age}`)
  t.is(there.get('wherry_checkpoint_age_seconds{volume="data"}'), undefined, 'only the holder says it')
  for (const found of [here, there]) {
    t.is(found.get('wherry_copies{state="current",volume="data"}'), 2)
    t.is(found.get('wherry_copies_wanted{volume="data"}'), 2)
    t.is(found.get('wherry_registry_available{}'), 1)
  }
  t.is(here.get('wherry_checkpoints_total{result="taken",volume="data"}'), 1)
  t.true((here.get('wherry_checkpoints_total{result="unchanged",volume="data"}') ?? 0) >= 1)
  t.is(here.get('wherry_checkpoint_pause_seconds_count{volume="data"}'), 1)
  t.is(there.get('wherry_moved_bytes_total{volume="data"}'), 'one'.length)
  t.is(here.get('wherry_seizures_total{volume="data"}'), 0, 'an increase from zero can be seen')
  t.is(here.get('wherry_seizure_loss_seconds{volume="data"}'), undefined)
  t.true((here.get('wherry_lease_seconds_left{}') ?? 0) > 5)
})

test('the metrics tell of a fence, of a take-over with its loss, and of a diverged tree', async (t) => {
  const { world, id, holder, other } = await heldWithCopy()
  holder.store.trees.set(id, 'one and more')
  holder.connected = false
  const mounting = other.agent.mount('data', 'm', DEADLINE_MS)
  await world.pass(40_000)
  await world.clock.until(mounting)
  run(other)
  const cut = await scrape(holder)
  t.is(cut.get('wherry_registry_available{}'), 0)
  t.is(cut.get('wherry_lease_seconds_left{}'), 0)
  t.is(cut.get('wherry_fenced_containers{}'), 1)

  const taker = await scrape(other)
  t.is(taker.get('wherry_seizures_total{volume="data"}'), 1)
  const { ageSeconds, at } = (await world.record('data')).seizures.at(-1) ?? { ageSeconds: -1, at: '' }
  t.is(taker.get('wherry_seizure_loss_seconds{volume="data"}'), ageSeconds)
  t.is(taker.get('wherry_seizure_timestamp_seconds{volume="data"}'), Date.parse(at) / 1000)

  holder.connected = true
  await world.pass(20_000)
  const back = await scrape(holder)
  t.is(back.get('wherry_diverged_trees{volume="data"}'), 1)
  t.is(back.get('wherry_fenced_containers{}'), 0)
  t.is((await scrape(other)).get('wherry_diverged_trees{volume="data"}'), 0)
  await world.pass(5_000)
  const here = await holder.agent.get('data', new AbortController().signal)
  t.like(here.diverged[0], { epoch: 2, bytes: 'one and more'.length })
  t.like(here.seizure, { from: 'h1', by: 'h2' })
  const there = await other.agent.get('data', new AbortController().signal)
  t.deepEqual([there.diverged, there.divergedElsewhere], [[], [{ host: 'h1', trees: 1 }]])
})

test('a copy on a host that is away does not count: the alerts on copies and age fire', async (t) => {
  const { world, id, holder, other } = await heldWithCopy()
  const isAlarming = async (host: MemoryHost) => {
    const found = await scrape(host)
    const sampleOf = (sample: string) => found.get(sample) ?? Number.NaN
    return sampleOf('wherry_copies{state="current",volume="data"}') < sampleOf('wherry_copies_wanted{volume="data"}')
  }
  const [, , third] = world.hosts
  if (third === undefined) throw new Error('there are three hosts')
  t.false((await isAlarming(holder)) || (await isAlarming(third)))
  other.connected = false
  await world.pass(12_000)
  for (const host of [holder, third]) {
    t.true(await isAlarming(host))
    t.is((await scrape(host)).get('wherry_copies{state="away",volume="data"}'), 1)
  }
  t.is((await scrape(holder)).get('wherry_checkpoint_age_seconds{volume="data"}'), Number.POSITIVE_INFINITY)
  holder.store.trees.set(id, 'two')
  await world.pass(12_000)
  t.is((await scrape(holder)).get('wherry_checkpoint_age_seconds{volume="data"}'), Number.POSITIVE_INFINITY)
  other.connected = true
  await world.pass(30_000)
  t.false((await isAlarming(holder)) || (await isAlarming(third)))
  t.true(((await scrape(holder)).get('wherry_checkpoint_age_seconds{volume="data"}') ?? Infinity) <= 12)
})

for (const [what, read] of [
  ['answers without the newest heartbeats', async () => []],
  ['does not answer', () => Promise.reject(new WherryError('REGISTRY_UNAVAILABLE', 'no leader'))],
] as const) {
  test(`an agent that has just started calls no host away while the stream of heartbeats ${what}`, async (t) => {
    const { world, holder, other } = await heldWithCopy()
    const gone = new AbortController().signal
    const { hosts, followedHosts } = world.registry
    world.registry.hosts = read
    world.registry.followedHosts = read
    for (const host of [holder, other]) {
      await host.restart()
      const view = await world.clock.until(host.agent.get('data', gone))
      t.true(view.hostsUnknown)
      t.deepEqual([view.holder?.away, ...view.copies.map(({ awaySince }) => awaySince)], [null, null, null])
      t.regex(describeConditions(view).join('\n'), /this agent has just started: which hosts are away is not known yet/)
      t.notRegex(describeConditions(view).join('\n'), /away:|never heard/)
      const found = await world.clock.until(scrape(host))
      const alarming = [...found.keys()].filter((name) => /^wherry_(copies|checkpoint_age_seconds)\{/.test(name))
      t.deepEqual(alarming, [])
    }
    world.registry.hosts = hosts
    world.registry.followedHosts = followedHosts
    await world.pass(2_000)
    const [there, seen] = [await scrape(other), await other.agent.get('data', gone)]
    t.is(there.get('wherry_copies{state="current",volume="data"}'), 2, 'all are alive: nothing is left to wait for')
    t.is(seen.hostsUnknown, undefined)
    world.host(3).connected = false
    await world.pass(12_000)
    t.deepEqual(
      (await other.agent.hosts()).map(({ alive, unknown }) => [alive, unknown]),
      [
        [true, undefined],
        [true, undefined],
        [false, undefined],
      ],
    )
  })
}

test('an agent that has just started knows the others by their names, and not by their ids', async (t) => {
  const { world, holder, other } = await heldWithCopy()
  holder.wallOffsetMs = -3_600_000
  await world.pass(2_000)
  await other.restart()
  const view = await world.clock.until(other.agent.get('data', new AbortController().signal))
  t.is(view.holder?.host, 'h1')
  t.is(view.holder?.away, null, 'its clock is an hour behind')
})

test('every host says at once why a volume cannot follow: in its metrics, and to a Mount', async (t) => {
  const { world, holder, other } = await heldWithCopy()
  const sampleOf = async (sample: string) => (await scrape(other)).get(sample)
  t.is(await sampleOf('wherry_holder_unwritable_seconds{volume="data"}'), 0)
  holder.store.unwritable = 'EROFS'
  const isSaid = async () =>
    (await sampleOf('wherry_holder_unwritable_seconds{code="EROFS",volume="data"}')) !== undefined
  for (let seconds = 0; seconds < 14 && !(await isSaid()); seconds++) await world.pass(1_000)
  t.true(await isSaid())
  t.is(await sampleOf('wherry_holder_unwritable_seconds{volume="data"}'), undefined)
  const refused = t.throwsAsync(other.agent.mount('data', 'm', 500), { message: /h1 .*cannot write .*EROFS/ })
  await world.clock.until(refused)
  t.is(await sampleOf('wherry_release_failed_seconds{volume="data"}'), 0)
  t.true((await sampleOf('wherry_checkpoint_failed_seconds{code="EROFS",volume="data"}')) !== undefined)
})

test('what was idle for long is as old as its hold', async (t) => {
  const world = await World.start(2)
  await world.host(1).agent.create('data', DEFAULT_OPTIONS)
  await world.use(2, 'data', 'zero')
  await world.use(1, 'data', 'zero')
  await world.pass(100_000)
  await world.clock.until(world.host(1).agent.mount('data', 'm', DEADLINE_MS))
  await world.pass(1_000)
  for (const host of world.hosts) {
    const { elsewhere, last } = await host.agent.get('data', new AbortController().signal)
    t.true((elsewhere?.ageSeconds ?? Infinity) <= 2, `${elsewhere?.ageSeconds}`)
    t.true(world.clock.now().getTime() - Date.parse(last?.at ?? '') > 100_000)
  }
})

test('a volume without a checkpoint elsewhere has an age without end, one that wants none has no age', async (t) => {
  const world = await World.start(2)
  const { agent } = world.host(1)
  for (const [name, options] of [
    ['data', DEFAULT_OPTIONS],
    ['alone', { ...DEFAULT_OPTIONS, copies: 1 }],
    ['still', { ...DEFAULT_OPTIONS, checkpointMs: null }],
  ] as const) {
    await agent.create(name, options)
    await world.clock.until(agent.mount(name, 'm', DEADLINE_MS))
  }
  const found = await scrape(world.host(1))
  const ageOf = (volume: string) => found.get(`wherry_checkpoint_age_seconds{volume="${volume}"}`)
  t.deepEqual([ageOf('data'), ageOf('alone'), ageOf('still')], [Number.POSITIVE_INFINITY, undefined, undefined])
  const current = found.get('wherry_copies{state="current",volume="alone"}')
  t.is(
    current,
    found.get('wherry_copies_wanted{volume="alone"}'),
    "the holder's is one although it has no checkpoint yet",
  )
})

test('every metric is described in docs/metrics.md, and no other', async (t) => {
  const text = await new Metrics().scrape(createMemoryMobility())
  const told = [...text.matchAll(/^# HELP (wherry_\w+) /gm)].map(([, name]) => name)
  const page = readFileSync(new URL('../../../docs/metrics.md', import.meta.url), 'utf8')
  const described = [...page.matchAll(/^\| `(wherry_\w+)` \| /gm)].map(([, name]) => name)
  t.true(told.length > 10)
  t.deepEqual(described.toSorted(), told.toSorted())
})

test('volumes that are removed leave the metrics; what was counted stays while the registry is away', async (t) => {
  const metrics = new Metrics()
  const mobility = createMemoryMobility()
  await mobility.create('data', DEFAULT_OPTIONS)
  metrics.tally.checkpoint('data', 'over_budget')
  metrics.tally.paused('data', 510)
  metrics.tally.moved('data', 7)
  const keys = async () =>
    [...samplesOf(await metrics.scrape(mobility), 'h1').keys()].filter((key) => key.includes('"data"'))
  t.true((await keys()).includes('wherry_checkpoints_total{result="over_budget",volume="data"}'))
  t.true((await keys()).includes('wherry_checkpoint_pause_seconds_bucket{le="1",volume="data"}'))
  const { list } = mobility
  mobility.list = async () => {
    throw new WherryError('REGISTRY_UNAVAILABLE', 'No leader.')
  }
  t.true((await keys()).includes('wherry_moved_bytes_total{volume="data"}'))
  mobility.list = list
  await mobility.remove('data')
  t.deepEqual(await keys(), [])
})
