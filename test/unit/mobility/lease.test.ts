import test from 'ava'
import { pino } from 'pino'
import { unavailable } from '../../../agent/bus/connection.ts'
import { hasAnyMovedOn } from '../../../agent/mobility/hold/confirm-hold.ts'
import { HeartbeatLease } from '../../../agent/mobility/lease/lease.ts'
import type { HostRecord } from '../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { VirtualClock } from '../../fake/clock.ts'
import { MemoryRegistry } from '../../fake/memory-registry.ts'
import { World } from './world.ts'

const LEASE_MS = 8_000
/** How long a question waits that nobody answers (agent/registry/bucket.ts). */
const REQUEST_TIMEOUT_MS = 3_000

/** Between two leaders: a write is turned away at once, a question is lost without a word. */
class Leaderless extends MemoryRegistry {
  leaderless = false
  /** Writes take effect, and their answers are lost. */
  losesAnswers = false
  /** How long a write takes. */
  writeMs = 0
  readonly #clock: VirtualClock

  constructor(clock: VirtualClock) {
    super()
    this.#clock = clock
  }

  override async ownHost(id: string) {
    if (!this.leaderless) return await super.ownHost(id)
    await this.#clock.sleep(REQUEST_TIMEOUT_MS, new AbortController().signal)
    throw unavailable('TIMEOUT')
  }

  override async updateHost(record: HostRecord, revision: number) {
    if (this.leaderless) return { outcome: 'unknown' as const, cause: new Error('503') }
    if (this.writeMs > 0) await this.#clock.sleep(this.writeMs, new AbortController().signal)
    const write = await super.updateHost(record, revision)
    return this.losesAnswers ? { outcome: 'unknown' as const, cause: new Error('TIMEOUT') } : write
  }
}

/** `isTakenOver`: the records show that others hold what this host held, and its containers cannot be paused yet. */
async function begin(isTakenOver = false, isLeaderless = false) {
  const clock = new VirtualClock()
  const registry = new Leaderless(clock)
  registry.leaderless = isLeaderless
  const stop = new AbortController()
  const self = { id: 'a', address: 'a', transferPort: 1, incarnation: 'i', version: '1' }
  const log = pino({ level: 'silent' })
  const times = { heartbeatMs: 1_000, leaseMs: LEASE_MS, seizeAfterMs: LEASE_MS }
  const dependencies = { registry, clock, self, log, ...times, signal: stop.signal }
  const beat = { id: 'a', name: 'a', address: 'a', transferPort: 1, swarmNode: null, uses: {}, covered: {} }
  const disk = { diverged: {}, namesakes: [], freeBytes: 1, totalBytes: 2, zone: null, draining: false }
  let lapses = -1
  const renewed = (lapsed: boolean) => {
    if (lapsed) lapses++
  }
  const failure = isTakenOver ? new Error('the engine is away') : null
  const fence = { calls: [] as boolean[], failure }
  const ended = async (isStart: boolean) => {
    fence.calls.push(isStart)
    if (fence.failure !== null) throw fence.failure
  }
  let heartbeats = 0
  /** Null: nobody can tell. */
  const record: { hasMovedOn: boolean | null } = { hasMovedOn: isTakenOver }
  const hasMovedOn = async () => {
    if (record.hasMovedOn === null) throw unavailable('TIMEOUT')
    return record.hasMovedOn
  }
  const describe = async () => {
    heartbeats++
    return { ...beat, ...disk }
  }
  const lease = new HeartbeatLease(dependencies, describe, renewed, ended, hasMovedOn)
  void lease.run()
  await clock.advance(1_500)
  return {
    clock,
    registry,
    lease,
    fence,
    record,
    lapses: () => lapses,
    heartbeats: () => heartbeats,
    [Symbol.dispose]: () => stop.abort(),
  }
}

test('promise 6: a lease is renewed with the first beat after the registry has a leader again', async (t) => {
  using g = await begin()
  for (const outageMs of [3_000, 4_500, 6_000]) {
    g.registry.leaderless = true
    await g.clock.advance(outageMs)
    g.registry.leaderless = false
    await g.clock.advance(1_000)
    t.true(g.lease.silentMs <= 1_000, `after ${outageMs} ms the newest renewal is ${g.lease.silentMs} ms old`)
  }
  t.is(g.lapses(), 0)
})

test('a renewal that took effect and whose answer was lost is found, and the lease renewed after it', async (t) => {
  using g = await begin()
  g.registry.losesAnswers = true
  await g.clock.advance(2_000)
  g.registry.losesAnswers = false
  await g.clock.advance(3_000)
  t.true(g.lease.silentMs <= 1_000)
  t.is(g.lapses(), 0)
})

test('promise 6: a renewal that is tried again does not take the place of a mark that the lease is over', async (t) => {
  using g = await begin()
  g.registry.leaderless = true
  await g.clock.advance(2_000)
  const [entry] = await g.registry.hosts()
  if (entry === undefined) return t.fail()
  await g.registry.expireHost(entry.value, entry.revision, 'b')
  const silentMs = g.lease.silentMs
  g.registry.leaderless = false
  await g.clock.advance(900)
  t.true(g.lease.silentMs > silentMs, 'the write was refused')
  await g.clock.advance(2_000)
  t.true(g.lease.silentMs <= 1_000, 'and the lease taken anew after a look')
})

test('promise 6: a lease that another host has ended is over at once, and taken anew only after what follows was done', async (t) => {
  using g = await begin()
  await g.clock.advance(3_000)
  g.fence.failure = new Error('the engine is away')
  await expire(g.registry)
  await g.clock.advance(1_000)
  t.false(g.lease.runs, 'although it would run for seven more seconds by its own clock')
  t.is(g.lapses(), 1)
  t.false(g.lease.prolong(g.clock.elapsedMs() - 1, g.clock.elapsedMs()))
  t.false(g.lease.runs, 'that nobody can end it says nothing about one that was ended')
  await g.clock.advance(5_000)
  t.false(g.lease.runs)
  t.true(g.fence.calls.length > 3)
  t.false(g.fence.calls.includes(true))
  g.fence.failure = null
  await g.clock.advance(2_000)
  t.true(g.lease.runs)
})

test('promise 6: while nobody can end it, a lease is extended only if it ran when that began', async (t) => {
  using g = await begin()
  g.registry.leaderless = true
  await g.clock.advance(LEASE_MS + 4_000)
  const nowMs = g.clock.elapsedMs()
  t.false(g.lease.runs)
  t.false(g.lease.prolong(nowMs - 3_000, nowMs), 'others may have ended it before')
  t.false(g.lease.runs)
  t.true(g.lease.prolong(nowMs - 10_000, nowMs))
  t.true(g.lease.runs)
  t.is(g.lapses(), 1)
})

test('promise 6: a new agent that has not renewed extends the lease of the one before it, and no other', async (t) => {
  using g = await begin(false, true)
  const nowMs = g.clock.elapsedMs()
  t.false(g.lease.prolong(nowMs - 1, nowMs), 'nothing is known of a lease')
  t.false(g.lease.runs)
  g.lease.inherit(nowMs - 1_000)
  t.false(g.lease.runs, "the lease of an earlier agent is not this one's")
  t.false(g.lease.prolong(nowMs - 1_000, nowMs), 'it had expired when the outage began')
  t.is(g.lease.untilMs, Number.NEGATIVE_INFINITY)
  t.true(g.lease.prolong(nowMs - 1_001, nowMs))
  t.is(g.lease.untilMs, nowMs + LEASE_MS)
})

test('promise 6: a mark over a renewal whose answer was lost ends the lease as well', async (t) => {
  using g = await begin()
  g.registry.losesAnswers = true
  await g.clock.advance(1_000)
  await expire(g.registry)
  g.registry.losesAnswers = false
  g.fence.failure = new Error('the engine is away')
  await g.clock.advance(1_500)
  t.false(g.lease.runs)
})

test('a lease whose heartbeat another agent with the same id has written is over', async (t) => {
  using g = await begin()
  const [entry] = await g.registry.hosts()
  if (entry === undefined) return t.fail()
  await g.registry.updateHost({ ...entry.value, incarnation: 'another' }, entry.revision)
  g.fence.failure = new Error('the engine is away')
  await g.clock.advance(1_500)
  t.false(g.lease.runs)
})

test('promise 6: a registry that was lost ends no lease; one that was recovered while this machine stood still does', async (t) => {
  using g = await begin()
  g.registry.forgetHosts()
  await g.clock.advance(2_500)
  t.true(g.lease.runs)
  t.deepEqual(g.fence.calls, [])
  g.registry.forgetHosts()
  g.record.hasMovedOn = true
  g.fence.failure = new Error('the engine is away')
  await g.clock.advance(1_500)
  t.false(g.lease.runs)
  t.true(g.fence.calls.length > 0)
})

test('promise 6: after a loss of the registry nothing is renewed while the records cannot be read', async (t) => {
  const world = await World.start(1)
  const { agent, store } = world.host(1)
  await agent.create('data', DEFAULT_OPTIONS)
  await world.clock.until(agent.mount('data', 'm', 10_000))
  t.false(await hasAnyMovedOn({ store, registry: world.registry }))
  world.registry.away = true
  await t.throwsAsync(hasAnyMovedOn({ store, registry: world.registry }), { code: 'REGISTRY_UNAVAILABLE' })

  using g = await begin()
  const until = g.lease.untilMs
  g.registry.forgetHosts()
  g.record.hasMovedOn = null
  await g.clock.advance(5_000)
  t.true(g.lease.untilMs < until + 2_000)
  g.record.hasMovedOn = true
  await g.clock.advance(1_500)
  t.true(g.fence.calls.length > 0)
})

test('promise 6: a new agent whose heartbeat was lost with the registry takes no lease while others hold its volumes', async (t) => {
  using g = await begin(true)
  t.false(g.lease.runs)
  t.deepEqual(g.fence.calls, [true, true])
  g.fence.failure = null
  await g.clock.advance(1_000)
  t.true(g.lease.runs)
})

async function expire(registry: MemoryRegistry): Promise<void> {
  const [entry] = await MemoryRegistry.prototype.hosts.call(registry)
  if (entry === undefined) throw new Error('no heartbeat')
  await registry.expireHost(entry.value, entry.revision, 'b')
}

for (const inFlight of [false, true]) {
  test(`a lease that is given up says why in one more heartbeat${inFlight ? ', also while another one is on its way' : ''}`, async (t) => {
    using g = await begin()
    g.registry.writeMs = 400
    // Heartbeats begin at whole seconds.
    await g.clock.advance(inFlight ? 700 : 1_200)
    const before = g.heartbeats()
    g.lease.giveUp()
    await g.clock.advance(10_000)
    t.is(g.heartbeats() - before, 1)
    t.false(g.lease.runs)
  })
}
