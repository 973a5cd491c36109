import test, { type ExecutionContext } from 'ava'
import { type ErrorCode, WherryError } from '../../../agent/model/errors.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { type MemoryHost, World } from './world.ts'

const DEADLINE_MS = 60_000
const OPTIONS = { ...DEFAULT_OPTIONS, copies: 2, checkpointMs: null }
const never = new AbortController().signal

/** An idle volume: its newest checkpoint is on the first host alone, the second one has the checkpoint before. */
async function oneNewest(copies = 2) {
  const world = await World.start(3)
  const [h1, h2, h3] = [world.host(1), world.host(2), world.host(3)]
  await h1.agent.create('data', { ...OPTIONS, copies })
  if (copies > 1) await world.use(2, 'data', 'old')
  await world.clock.until(h1.agent.mount('data', 'm', DEADLINE_MS))
  const { id } = await world.record('data')
  h1.store.trees.set(id, 'new')
  // From here on no copy of it comes to an end.
  world.pullMs = 1e12
  await h1.agent.unmount('data', 'm')
  await world.pass(1_000)
  return { world, id, h1, h2, h3 }
}

async function promote(world: World, host: MemoryHost, acceptLoss = false) {
  return await world.clock.until(host.agent.promote('data', acceptLoss, never))
}

/** What the refusal says; the record is as it was. */
async function refused(t: ExecutionContext, world: World, host: MemoryHost, code: ErrorCode): Promise<string> {
  const before = await world.record('data')
  const error = await t.throwsAsync(promote(world, host), { instanceOf: WherryError })
  t.is(error.code, code)
  const { epoch, last, holder } = await world.record('data')
  t.deepEqual({ epoch, last, holder }, { epoch: before.epoch, last: before.last, holder: before.holder })
  return error.toLine()
}

/** The volume goes on with the older checkpoint, on a host that has it and on one that has nothing. */
async function goesOnWithOld(t: ExecutionContext, world: World, id: string): Promise<void> {
  world.pullMs = 0
  for (const number of [2, 3]) {
    const { agent, store } = world.host(number)
    await world.clock.until(agent.mount('data', 'm', DEADLINE_MS))
    t.is(store.trees.get(id), 'old')
    await agent.unmount('data', 'm')
    await world.pass(2_000)
  }
}

test('promote of a volume that can be mounted as it is says so, and changes nothing', async (t) => {
  const { world, id, h2, h3 } = await oneNewest()
  const before = await world.record('data')
  for (const acceptLoss of [false, true]) {
    const said = await promote(world, h3, acceptLoss)
    t.false(said.changed)
    t.regex(said.summary, /^Volume "data" is not held by any host and is at its newest checkpoint 2\.2, taken 20\S+Z; /)
    t.regex(said.summary, /nothing was changed\. It can be mounted, with the data of h1 \(h1\)\./)
  }
  t.deepEqual(await world.record('data'), before)
  world.pullMs = 0
  await world.clock.until(h2.agent.mount('data', 'm', DEADLINE_MS))
  t.is(h2.store.trees.get(id), 'new')
})

test('promote of a volume that was never used says that there is nothing to go on from', async (t) => {
  const world = await World.start(2)
  await world.host(1).agent.create('data', OPTIONS)
  const said = await promote(world, world.host(2))
  t.false(said.changed)
  t.regex(said.summary, /was never used and can be mounted on any host; nothing was changed\.$/)
  await world.clock.until(world.host(2).agent.mount('data', 'm', DEADLINE_MS))
  t.pass()
})

test('promise 2: promote names what is lost without a checkpoint that is away, and goes on when told to', async (t) => {
  const { world, id, h1, h2, h3 } = await oneNewest()
  h1.connected = false
  await world.pass(20_000)
  const line = await refused(t, world, h3, 'FAILOVER_REFUSED')
  t.regex(
    line,
    /^Volume "data" is not held by any host and cannot be mounted: the newest data \(checkpoint 2\.2, taken /,
  )
  t.regex(line, /without it what was written after checkpoint 1\.1, taken 20\S+, is lost\./)
  t.regex(line, /h1 \(h1\), not heard from for \d+ s: did not answer, last known at 2\.2/)
  t.regex(line, /or give it up: wherry promote data --accept-loss$/)
  const said = await promote(world, h3, true)
  t.true(said.changed)
  t.regex(
    said.summary,
    /^Volume "data" goes on from checkpoint 1\.1, taken \S+Z\. What was written after it is missing\. No host holds/,
  )
  await goesOnWithOld(t, world, id)
  h1.connected = true
  await world.pass(30_000)
  t.deepEqual([...h1.store.aside.values()], ['new'])
  t.is((await promote(world, h2)).changed, false)
})

test('promise 2: a copy whose files were changed is no checkpoint: promote goes on from an older one', async (t) => {
  const { world, id, h1, h2, h3 } = await oneNewest()
  h1.store.trees.set(id, 'new and changed by hand')
  world.pullMs = 0
  for (const host of [h1, h2, h3]) {
    const error = await t.throwsAsync(world.clock.until(host.agent.mount('data', 'm', 5_000)), {
      instanceOf: WherryError,
    })
    t.is(error.code, 'COPY_DAMAGED')
    t.regex(error.toLine(), /h1 \(h1\).* not what checkpoint 2\.2 says.*: .*"wherry promote data" says what/)
  }
  const line = await refused(t, world, h2, 'FAILOVER_REFUSED')
  t.regex(line, /cannot be mounted: .*h1 \(h1\): .*cannot be used: files under volumes\/\w+\/data/)
  t.regex(line, /or give it up: wherry promote data --accept-loss$/)
  t.true((await promote(world, h2, true)).changed)
  await goesOnWithOld(t, world, id)
  await world.pass(30_000)
  t.deepEqual([...h1.store.aside.values()], ['new and changed by hand'])
})

test('promote names the one copy whose files were changed when another copy can be mounted', async (t) => {
  const { world, id, h1, h2 } = await oneNewest()
  world.pullMs = 0
  await world.pass(30_000)
  t.is(h2.store.trees.get(id), 'new')
  h1.store.trees.set(id, 'changed')
  const said = await promote(world, h2, true)
  t.false(said.changed)
  t.regex(said.summary, /It can be mounted, with the data of h2 \(h2\)\. .*h1 \(h1\): .*cannot be used: files under/)
  await world.clock.until(h2.agent.mount('data', 'm', DEADLINE_MS))
  t.is(h2.store.trees.get(id), 'new')
})

test('promote of a volume whose only copy was changed is refused, whatever is accepted', async (t) => {
  const { world, id, h1, h2 } = await oneNewest(1)
  h1.store.trees.set(id, 'changed')
  const line = await refused(t, world, h2, 'FAILOVER_REFUSED')
  t.regex(line, /no other copy can be had now\. If it is lost for good, copy out what is there, then: wherry rm data$/)
  await t.throwsAsync(promote(world, h2, true), { code: 'FAILOVER_REFUSED' })
})

test('promote of a lost holder does not go on from a copy whose files were changed', async (t) => {
  const { world, id, h1, h2, h3 } = await oneNewest()
  world.pullMs = 0
  await world.clock.until(h1.agent.mount('data', 'm', DEADLINE_MS))
  await world.pass(30_000)
  h1.connected = false
  h2.store.trees.set(id, 'changed')
  await world.pass(20_000)
  const line = await refused(t, world, h3, 'FAILOVER_REFUSED')
  t.regex(line, /h2 \(h2\): .*cannot be used: files under/)
})

test('promote does not wait for ever for a host that cannot write down that it has released the volume', async (t) => {
  const { world, id, h1, h3 } = await oneNewest()
  const { epoch } = await world.record('data')
  await h1.store.update(id, { held: { epoch, incarnation: 'released' } })
  h1.store.unwritable = 'EROFS'
  await world.pass(5_000)
  const error = await t.throwsAsync(world.clock.until(h3.agent.mount('data', 'm', 5_000)), { instanceOf: WherryError })
  t.is(error.code, 'DATA_UNREACHABLE')
  t.regex(
    error.toLine(),
    /is on h1 \(h1\).* If it never comes, "wherry promote data" says what an older checkpoint costs/,
  )
  const line = await refused(t, world, h3, 'FAILOVER_REFUSED')
  t.regex(line, /h1 \(h1\): has not been able to write down that it has released it \(EROFS: /)
  t.regex(line, /or give it up: wherry promote data --accept-loss$/)
  world.pullMs = 0
  t.true((await promote(world, h3, true)).changed)
  await goesOnWithOld(t, world, id)
})
