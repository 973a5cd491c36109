import test from 'ava'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { World } from './world.ts'

async function heartbeat(world: World) {
  const [entry] = await world.registry.hosts()
  return { at: Date.parse(entry?.value.at ?? ''), uses: Object.keys(entry?.value.uses ?? {}) }
}

test('a disk that hangs costs no heartbeat: what it said last stands in', async (t) => {
  const world = await World.start(1)
  const { agent, store } = world.host(1)
  await agent.create('data', DEFAULT_OPTIONS)
  await world.clock.until(agent.mount('data', 'm', 100_000))
  await world.clock.advance(2_000)
  const { id } = await world.record('data')
  t.deepEqual((await heartbeat(world)).uses, [id])
  store.copiesMs = 60_000
  for (let seconds = 0; seconds < 30; seconds++) {
    await world.clock.advance(1_000)
    const { at, uses } = await heartbeat(world)
    t.true(world.clock.now().getTime() - at < 2_500, `${seconds} s: the last beat was at ${at}`)
    t.deepEqual(uses, [id])
  }
})

test('a disk that answers again is believed again', async (t) => {
  const world = await World.start(1)
  const { agent, store } = world.host(1)
  await agent.create('data', DEFAULT_OPTIONS)
  store.copiesMs = 5_000
  await world.clock.advance(10_000)
  t.deepEqual((await heartbeat(world)).uses, [])
  await world.clock.until(agent.mount('data', 'm', 100_000))
  store.copiesMs = 0
  await world.clock.advance(10_000)
  t.deepEqual((await heartbeat(world)).uses, [(await world.record('data')).id])
})

test("every host knows when a host's certificate ends, and that host has it among its metrics", async (t) => {
  const world = await World.start(2)
  const [h1, h2] = [world.host(1), world.host(2)]
  h1.certificateEnds = new Date('2027-03-01T00:00:00Z')
  await world.clock.advance(3_000)
  const ends = (await h2.agent.hosts()).map(({ name, certificateEnds }) => [name, certificateEnds])
  t.deepEqual(Object.fromEntries(ends), { h1: '2027-03-01T00:00:00.000Z', h2: null })
  const seconds = Date.parse('2027-03-01T00:00:00Z') / 1000
  t.regex(
    await h1.metrics.scrape(h1.agent),
    new RegExp(`^wherry_certificate_end_timestamp_seconds\\{.*\\} ${seconds}$`, 'm'),
  )
  t.regex(await h2.metrics.scrape(h2.agent), /^wherry_certificate_end_timestamp_seconds\{.*\} \+Inf$/m)
})

test('a host that was booted is called by its name and its Swarm node before its engine answers', async (t) => {
  const world = await World.start(1)
  const host = world.host(1)
  host.swarmNode = 'node-1'
  // No event says that a node has joined a Swarm.
  await world.clock.advance(12_000)
  t.deepEqual(host.engineFacts, { name: 'h1', swarmNode: 'node-1', zone: null })
  host.engineTells = false
  await host.restart()
  await world.clock.advance(5_000)
  const [entry] = await world.registry.hosts()
  t.like(entry?.value, { name: 'h1', swarmNode: 'node-1' })
})
