import test from 'ava'
import { copyFields } from '../../../agent/mobility/record/checkpoint-order.ts'
import type { HostRecord } from '../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import type { Query } from '../../../agent/transfer/contract.ts'
import { type MemoryHost, World } from './world.ts'

const never = () => new AbortController().signal

/** Three hosts and an idle volume with copies on h1 and h2. */
async function ground() {
  const world = await World.start(3, 20_000)
  const [h1, h2, h3] = [world.host(1), world.host(2), world.host(3)]
  await h1.agent.create('data', { ...DEFAULT_OPTIONS, copies: 2 })
  await world.use(2, 'data', 'precious')
  await world.use(1, 'data', 'precious')
  await world.pass(10_000)
  const record = await world.record('data')
  return { world, record, id: record.id, h1, h2, h3 }
}

/** From now on the heartbeat of a host says something else of the host. */
async function lie(world: World, host: string, change: Partial<HostRecord>): Promise<void> {
  const entry = (await world.registry.hosts()).find(({ value }) => value.id === host)
  if (entry === undefined) throw new Error(`no heartbeat of ${host}`)
  const renewal = entry.value.renewal + 1_000_000
  await world.registry.updateHost({ ...entry.value, ...change, renewal }, entry.revision)
}

/** The host replies to one kind of question what it likes. */
function replyWith(host: MemoryHost, kind: Query['kind'], change: (reply: object) => object): void {
  const { agent } = host
  const answer: typeof agent.answer = async (question, ...rest) => {
    const reply = await agent.answer(question, ...rest)
    return question.kind === kind ? change(reply as object) : reply
  }
  host.agent = { ...agent, answer }
}

test('promise 7: a copy does not count twice because a heartbeat names the address of another host', async (t) => {
  const { world, record, id, h2, h3 } = await ground()
  const { last } = record
  if (last === null) return t.fail()
  h3.kill()
  // h1 and h3 have it, so it seems, and both seem to be alive.
  const copy = { ...copyFields(last), state: 'current', at: '', kept: true } as const
  const revision = (await world.registry.volume('data'))?.revision ?? 0
  await world.registry.updateVolume({ ...record, copies: { ...record.copies, h3: copy } }, revision)
  await world.clock.until(h2.agent.drain(true))
  for (let beat = 0; beat < 60; beat++) {
    await lie(world, 'h3', { address: 'h1', incarnation: `again${beat}` })
    await world.pass(1_000)
  }
  t.is(h2.store.trees.get(id), 'precious')
  t.false(h2.store.inTrash.has(id))
})

test('promise 7: no host replies for another one to a removal', async (t) => {
  const { world, id, h1, h2, h3 } = await ground()
  h1.users = [{ id: 'c', name: 'db', state: 'exited', volumes: ['data'] }]
  replyWith(h3, 'references', () => ({ host: 'h1', containers: [], services: 'none' }))
  const error = await t.throwsAsync(world.clock.until(h2.agent.remove('data')), { code: 'VOLUME_IN_USE' })
  t.regex(error?.message ?? '', /db/)
  t.is(h1.store.trees.get(id), 'precious')
})

test('recover: an inventory in the name of another host does not count, and that is said', async (t) => {
  const { world, h1, h3 } = await ground()
  replyWith(h3, 'inventory', (reply) => ({ ...reply, host: 'h2' }))
  const { problems, written } = await world.clock.until(h1.agent.recover(never()))
  t.regex(problems.join('\n'), /h3 .*was asked, and the reply is that of h2/)
  t.deepEqual(written, [])
})

test('recover: a host that lives is not hidden by another one that names its address', async (t) => {
  const { world, h1, h2, h3 } = await ground()
  h3.kill()
  await lie(world, 'h3', { address: 'h2', at: new Date(0).toISOString() })
  await world.pass(20_000)
  replyWith(h2, 'inventory', () => ({ nonsense: true }))
  const { problems } = await world.clock.until(h1.agent.recover(never()))
  t.regex(problems.join('\n'), /Nothing was written: .* lives and did not answer/)
})

test('messages that Mounts wait do not keep a copy behind for ever', async (t) => {
  const { world, id, h1, h2, h3 } = await ground()
  await world.clock.until(h1.agent.mount('data', 'm', 100_000))
  h1.store.trees.set(id, 'precious and more')
  const hears = h2.subscribers.get('volume.*.wanted')
  const cry = (nth: number) => {
    const message = { id, name: 'data', host: `h${nth}`, sources: ['h1', 'h2', 'h3'] }
    hears?.(message, `volume.${id}.wanted`)
  }
  h2.connected = false
  h3.kill()
  await h1.agent.unmount('data', 'm')
  await world.pass(3_000)
  h2.connected = true
  for (let second = 0; second < 60; second++) {
    cry(second)
    await world.pass(1_000)
  }
  t.is(h2.store.trees.get(id), 'precious', 'it gives way to Mounts')
  for (let second = 60; second < 150; second++) {
    cry(second)
    await world.pass(1_000)
  }
  t.is(h2.store.trees.get(id), 'precious and more')
})

test('promise 6: a heartbeat with the address of a registry host does not keep a lease from being extended', async (t) => {
  const { world, h1, h2 } = await ground()
  await lie(world, 'h1', { address: 'h3', transferPort: 9 })
  await world.pass(2_000)
  world.registry.away = true
  h1.connected = false
  await world.pass(30_000)
  t.true((await h2.agent.health()).lease.secondsLeft > 0)
})

test('promise 7: a surplus copy stays while the host that holds the volume by its record does not hold it', async (t) => {
  const { world, record, id, h1, h2, h3 } = await ground()
  const { last } = record
  if (last === null) return t.fail()
  h3.kill()
  const at = world.clock.now().toISOString()
  const entries = ['h1', 'h2'].map((host) => [host, { ...copyFields(last), state: 'current', at, kept: host === 'h1' }])
  const holder = { host: 'h1', incarnation: 'made up', since: at }
  const forged = { ...record, epoch: record.epoch + 1, holder, copies: Object.fromEntries(entries) }
  const options = { ...record.options, copies: 1 }
  const revision = (await world.registry.volume('data'))?.revision ?? 0
  await world.registry.updateVolume({ ...forged, options }, revision)
  await world.clock.until(h2.agent.drain(true))
  await world.pass(60_000)
  t.is(h2.store.trees.get(id), 'precious')
  t.is((await h1.store.copy(id))?.held, null)
})
