import test, { type ExecutionContext } from 'ava'
import { describeConditions } from '../../../agent/api/format.ts'
import { mayName } from '../../../agent/mobility/volume/own-references.ts'
import { WherryError } from '../../../agent/model/errors.ts'
import type { VolumeRecord } from '../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { type MemoryHost, World } from './world.ts'

const DEADLINE_MS = 100_000
const OPTIONS = { ...DEFAULT_OPTIONS, copies: 2 }
const FORCE = { force: true, acceptLoss: false }
const LOSS = { force: false, acceptLoss: true }
const never = () => new AbortController().signal

/** Three hosts and an idle volume that host 1 has used. */
async function idleVolume(tree = 'old') {
  const world = await World.start(3)
  await world.host(1).agent.create('data', OPTIONS)
  await world.use(1, 'data', tree)
  const { id } = await world.record('data')
  return { world, id, h1: world.host(1), h2: world.host(2), h3: world.host(3) }
}

/** The same with a container that runs on host 1 and has written. */
async function usedVolume() {
  const ground = await idleVolume()
  const { world, id, h1 } = ground
  await world.clock.until(h1.agent.mount('data', 'm', DEADLINE_MS))
  put(h1, 'running')
  await world.pass(3_000)
  h1.store.trees.set(id, 'written')
  return ground
}

function put(host: MemoryHost, state: string): void {
  host.users = [{ id: `c-${host.name}`, name: `db-${host.name}`, state, volumes: ['data'] }]
}

async function refused(t: ExecutionContext, world: World, removing: Promise<unknown>): Promise<string> {
  const error = await t.throwsAsync(world.clock.until(removing), { instanceOf: WherryError })
  t.is(error.code, 'VOLUME_IN_USE')
  t.is((await world.record('data')).removedAt, null)
  return error.toLine()
}

async function isRemoved(t: ExecutionContext, world: World, id: string): Promise<void> {
  t.is(await world.registry.volume('data'), null)
  await world.pass(5_000)
  for (const { connected, store } of world.hosts) if (connected) t.is(await store.copy(id), null)
}

test('promise 7: a volume that a service names is not removed from any host, whether a task of it runs or not', async (t) => {
  const { world, id, h1, h2, h3 } = await idleVolume()
  h1.services = [
    { name: 'other', volumes: ['else'] },
    { name: 'web', volumes: ['more', 'data'] },
  ]
  h2.services = 'worker'
  h3.services = 'worker'
  for (const host of [h1, h2, h3]) {
    const line = await refused(t, world, host.agent.remove('data'))
    t.regex(line, /"data" is in use by service web\. It was not removed\..* wherry rm data --force$/)
  }
  const view = await world.clock.until(h2.agent.removeWith('data', FORCE, never()))
  t.deepEqual(view, { volume: 'data', id, references: ['service web'], lost: [] })
  await isRemoved(t, world, id)
})

test('promise 7: what the services of a Swarm are must be known; without a Swarm there are none', async (t) => {
  const { world, id, h1, h2 } = await idleVolume()
  h1.services = 'worker'
  const line = await refused(t, world, h2.agent.remove('data'))
  t.regex(line, /not known whether.*no manager of the Swarm could be asked/)
  h1.services = 'none'
  await world.clock.until(h2.agent.remove('data'))
  await isRemoved(t, world, id)
})

for (const state of ['created', 'exited', 'dead', 'running', 'paused', 'restarting']) {
  test(`promise 7: a container that is ${state} on any host keeps the volume`, async (t) => {
    const { world, id, h1, h3 } = await idleVolume()
    put(h3, state)
    const line = await refused(t, world, h1.agent.remove('data'))
    t.regex(line, new RegExp(`in use on host h3 \\(h3\\) by container db-h3 \\(${state}\\)\\. It was not removed`))
    t.regex(line, /wherry rm data --force$/)
    const { references } = await world.clock.until(h1.agent.removeWith('data', FORCE, never()))
    t.deepEqual(references, [`container db-h3 (${state}) on host h3 (h3)`])
    await isRemoved(t, world, id)
  })
}

test('a container that Docker is about to remove is waited for', async (t) => {
  const { world, id, h1, h3 } = await idleVolume()
  put(h3, 'exited')
  const removing = h1.agent.remove('data')
  await world.pass(1_000)
  put(h3, 'removing')
  await world.pass(4_000)
  h3.users = []
  await world.clock.until(removing)
  await isRemoved(t, world, id)
})

test('promise 7: a host that lives and cannot say what its containers have is waited for, and keeps the volume', async (t) => {
  const { world, id, h1, h3 } = await idleVolume()
  h3.engineError = new WherryError('ENGINE_UNREACHABLE', 'The Docker engine did not answer.')
  const line = await refused(t, world, h1.agent.remove('data'))
  t.regex(line, /not known whether.*Not known: host h3 \(h3\) did not answer \(The Docker engine did not answer\)/)
  t.regex(line, /wherry rm data --force$/)
  const removing = h1.agent.remove('data')
  await world.pass(5_000)
  h3.engineError = null
  await world.clock.until(removing)
  await isRemoved(t, world, id)
})

test('promise 7: an engine of this host that does not answer keeps the volume', async (t) => {
  const { world, h1 } = await idleVolume()
  h1.engineError = new WherryError('ENGINE_UNREACHABLE', 'The Docker engine did not answer.')
  t.regex(await refused(t, world, h1.agent.remove('data')), /this host could not be asked/)
})

test('promise 7: a host that is away is taken at its last word about its containers', async (t) => {
  const { world, id, h1, h2, h3 } = await idleVolume()
  put(h2, 'exited')
  await world.pass(3_000)
  h2.connected = false
  h3.connected = false
  await world.pass(60_000)
  const line = await refused(t, world, h1.agent.remove('data'))
  t.regex(line, /in use on host h2 \(h2\), not heard from for \d+ s by container db-h2\./)
  t.notRegex(line, /h3/)
  t.regex(line, /Bring host h2 \(h2\) back\. .*wherry rm data --force$/)
  const { references } = await world.clock.until(h1.agent.removeWith('data', FORCE, never()))
  t.is(references.length, 1)
  await isRemoved(t, world, id)
})

test('promise 7: a host that lost the volume once counts again after its return', async (t) => {
  const { world, h1, h2 } = await usedVolume()
  await world.pass(30_000)
  h1.connected = false
  const taking = h2.agent.mount('data', 'm2', DEADLINE_MS)
  await world.pass(40_000)
  await world.clock.until(taking)
  await h2.agent.unmount('data', 'm2')
  await world.pass(5_000)
  // It comes back, its container is ended and made anew, and it is shut down with that.
  h1.connected = true
  await world.pass(30_000)
  put(h1, 'exited')
  await world.pass(5_000)
  h1.connected = false
  await world.pass(60_000)
  const line = await refused(t, world, h2.agent.remove('data'))
  t.regex(line, /on host h1 \(h1\), not heard from for \d+ s by container db-h1/)
})

test('a host that lost the volume and has not returned since does not keep it', async (t) => {
  const { world, h1, h2 } = await usedVolume()
  await world.pass(30_000)
  h1.connected = false
  const taking = h2.agent.mount('data', 'm2', DEADLINE_MS)
  await world.pass(40_000)
  await world.clock.until(taking)
  await h2.agent.unmount('data', 'm2')
  await world.pass(5_000)
  await world.clock.until(h2.agent.remove('data'))
  t.is(await world.registry.volume('data'), null)
})

test('a volume that was removed leaves no word of its release that failed', async (t) => {
  const { world, id, h1, h2 } = await usedVolume()
  h1.store.captureError = new WherryError('TREE_UNSUPPORTED', 'too deep')
  h1.users = []
  await h1.agent.unmount('data', 'm')
  await world.pass(3_000)
  await world.clock.until(h2.agent.remove('data'))
  await world.pass(10_000)
  t.is(await h1.store.copy(id), null)
  const heartbeat = (await world.registry.hosts()).find(({ value }) => value.id === 'h1')
  t.deepEqual(heartbeat?.value.stuck, {})
})

test('promise 7: a host that is away and has never said what its containers have keeps the volume', async (t) => {
  const { world, h1, h3 } = await idleVolume()
  h3.connected = false
  await world.pass(60_000)
  const entry = (await world.registry.hosts()).find(({ value }) => value.id === 'h3')
  if (entry === undefined) return t.fail()
  const { referrers: _, ...older } = entry.value
  await world.registry.updateHost(older, entry.revision)
  t.regex(await refused(t, world, h1.agent.remove('data')), /on host h3 .* by no container that is known/)
})

test('a volume is removed right after its last container, whatever was told of that container before', async (t) => {
  for (const from of [1, 3]) {
    const { world, id, h1 } = await usedVolume()
    h1.store.captureMs = 3_000
    h1.users = []
    await h1.agent.unmount('data', 'm')
    await world.clock.until(world.host(from).agent.remove('data'))
    await isRemoved(t, world, id)
  }
})

test('a volume is removed right after an engine crash that Docker sends no Unmount for', async (t) => {
  for (const from of [1, 2]) {
    const { world, id, h1 } = await usedVolume()
    h1.users = []
    await world.clock.until(world.host(from).agent.remove('data'))
    await isRemoved(t, world, id)
  }
})

test('a holder that does not let go in time is named', async (t) => {
  const { world, h1, h2 } = await usedVolume()
  h1.store.captureMs = 60_000
  h1.users = []
  await h1.agent.unmount('data', 'm')
  t.regex(await refused(t, world, h2.agent.remove('data')), /still held by host h1 \(h1\)/)
})

for (const [what, error, said] of [
  [
    'is busy',
    new WherryError('VOLUME_BUSY', 'Process 7 (tail) has /mnt/id open.'),
    'VOLUME_BUSY, since 20\\S+\\): Process 7',
  ],
  [
    'is on a disk that fails',
    Object.assign(new Error('EIO: i/o error'), { code: 'EIO' }),
    'EIO, since 20\\S+\\): EIO: i/o',
  ],
] as const) {
  test(`a holder that cannot let a volume go, as it ${what}, is named with the reason and the way out`, async (t) => {
    const { world, id, h1, h2 } = await usedVolume()
    h1.store.unmountError = error
    h1.users = []
    await h1.agent.unmount('data', 'm')
    await world.pass(3_000)
    const line = await refused(t, world, h2.agent.remove('data'))
    t.regex(
      line,
      /^Volume "data" is held by host h1 \(h1\), where no container has it any more, but which cannot release it \(/,
    )
    t.regex(
      line,
      new RegExp(`cannot release it \\(${said}.*(open|error)\\. It was not removed\\. Repair that there, or remove`),
    )
    t.regex(line, /or remove the volume at once: wherry rm data --force$/)
    await world.clock.until(h2.agent.removeWith('data', FORCE, never()))
    t.is(await world.registry.volume('data'), null)
    h1.store.unmountError = null
    await isRemoved(t, world, id)
  })
}

test('promise 7: a container that starts while a removal asks keeps the volume', async (t) => {
  const { world, h2 } = await idleVolume()
  const holder = { host: 'h3', incarnation: 'raced', since: 'now' }
  const revision = (await world.registry.volume('data'))?.revision ?? 0
  let raced: VolumeRecord | null = null
  world.registry.beforeWrite = (record) => {
    if (record.removedAt === null || raced !== null) return
    raced = { ...record, removedAt: null, epoch: record.epoch + 1, holder }
    void world.registry.updateVolume(raced, revision)
    put(world.host(3), 'running')
  }
  t.regex(await refused(t, world, h2.agent.remove('data')), /on host h3 \(h3\) by container db-h3 \(running\)/)
  t.deepEqual((await world.record('data')).holder, holder)
})

test('two hosts that remove a volume at once both succeed', async (t) => {
  const { world, id, h1, h2 } = await idleVolume()
  await world.clock.until(Promise.all([h1.agent.remove('data'), h2.agent.remove('data')]))
  await isRemoved(t, world, id)
  const error = await t.throwsAsync(world.clock.until(h1.agent.remove('data')), { instanceOf: WherryError })
  t.is(error.code, 'VOLUME_NOT_FOUND')
})

test('a stale read of the registry is not taken for a removal by another host', async (t) => {
  const { world, id, h1, h2 } = await usedVolume()
  h1.store.captureMs = 6_000
  h1.users = []
  await h1.agent.unmount('data', 'm')
  const removing = h2.agent.remove('data')
  await world.pass(1_000)
  const read = world.registry.volume.bind(world.registry)
  world.registry.volume = async () => null
  await world.pass(2_000)
  world.registry.volume = read
  t.not(await read('data'), null)
  await world.clock.until(removing)
  await isRemoved(t, world, id)
})

test('a removal by force ends the containers that run with the volume; all copies are in the trash', async (t) => {
  const { world, id, h1, h2 } = await usedVolume()
  const { references } = await world.clock.until(h2.agent.removeWith('data', FORCE, never()))
  t.deepEqual(references, ['container db-h1 (running) on host h1 (h1)'])
  await isRemoved(t, world, id)
  t.deepEqual(h1.users, [])
  t.true(h1.store.inTrash.has(id))
  t.deepEqual(await world.registry.removed(), [])
})

test('promise 7: a volume whose only holder is lost can be given up, and what the lost host has is set aside', async (t) => {
  const { world, id, h1, h2 } = await usedVolume()
  h1.connected = false
  await world.pass(60_000)
  const line = await refused(t, world, h2.agent.remove('data'))
  t.regex(line, /in use on host h1 \(h1\), not heard from for \d+ s by container db-h1\. It was not removed\./)
  t.regex(line, /If host h1 \(h1\) is lost for good: wherry rm data --accept-loss$/)
  t.regex(await refused(t, world, h2.agent.removeWith('data', FORCE, never())), /wherry rm data --accept-loss$/)
  const { lost } = await world.clock.until(h2.agent.removeWith('data', LOSS, never()))
  t.deepEqual(lost, ['h1 (h1)'])
  t.is(await world.registry.volume('data'), null)
  await world.clock.until(h2.agent.create('data', OPTIONS))

  h1.connected = true
  await world.pass(10_000)
  t.is(await h1.store.copy(id), null)
  t.false(h1.store.inTrash.has(id))
  t.is(h1.store.setAsideTrees.get(id), 'written')
  t.deepEqual(h1.users, [], 'a container of a removed volume is ended')
  t.deepEqual(await world.registry.removed(), [])
  t.regex((await h1.agent.health()).notes.join(), /set-aside\/data-/)
  await world.use(1, 'data', 'new')
  t.is((await world.record('data')).last?.hash, 'hash of new', 'the name is in use again')
})

test('promise 6: a volume is not given up before the lease of its holder is over', async (t) => {
  const { world, h1, h2 } = await usedVolume()
  // Another host gets a copy: only then are the holder's containers fenced.
  await world.pass(30_000)
  await t.throwsAsync(world.clock.until(h2.agent.removeWith('data', LOSS, never())), { code: 'VOLUME_IN_USE' })
  h1.connected = false
  await world.pass(1_000)
  const removing = h2.agent.removeWith('data', LOSS, never())
  await world.pass(15_000)
  await world.clock.until(removing)
  t.deepEqual(
    h1.users.map(({ state }) => state),
    ['paused'],
    'its containers were fenced before',
  )
})

test('a removal that accepts a loss is refused while a service refers to the volume', async (t) => {
  const { world, h1, h2 } = await usedVolume()
  h2.services = [{ name: 'web', volumes: ['data'] }]
  h1.connected = false
  await world.pass(60_000)
  const line = await refused(t, world, h2.agent.removeWith('data', LOSS, never()))
  t.regex(line, /in use by service web/)
  const both = { force: true, acceptLoss: true }
  t.deepEqual((await world.clock.until(h2.agent.removeWith('data', both, never()))).lost, ['h1 (h1)'])
})

test('a new volume under the name of one in the trash says so on every host', async (t) => {
  const { world, id, h1, h2, h3 } = await idleVolume()
  const first = await h2.agent.get('data', never())
  t.deepEqual(describeConditions(first), [])
  await world.clock.until(h3.agent.remove('data'))
  await world.pass(5_000)
  await world.clock.until(h2.agent.create('data', OPTIONS))
  for (const host of [h1, h2, h3]) {
    const news = new Map(describeConditions(await host.agent.get('data', never())))
    t.regex(news.get('earlier_volume') ?? '', new RegExp(`\\(${id}\\) was removed before; its data is still on h1`))
  }
  h1.wallOffsetMs = 8 * 86_400_000
  t.is((await h1.agent.get('data', never())).predecessor, null, 'the trash has been emptied')
})

test('a host that answers nonsense about its references is one that did not answer', async (t) => {
  const { world, h1, h3 } = await idleVolume()
  for (const answer of [
    null,
    {},
    { host: 'h3', containers: [{ name: 1 }], services: 'none' },
    { host: 'h3', containers: [] },
  ]) {
    h3.agent = { ...h3.agent, answer: async () => answer }
    t.regex(await refused(t, world, h1.agent.remove('data')), /h3 \(h3\) did not answer \(.* cannot be understood/)
  }
})

test('a service whose mount is a template refers to every volume that it can become', (t) => {
  t.true(mayName('data', 'data'))
  t.false(mayName('data', 'data-1'))
  t.true(mayName('data-{{.Task.Slot}}', 'data-1'))
  t.true(mayName('{{.Node.Hostname}}.{{ .Service.Name }}', 'h1.web'))
  t.false(mayName('{{.Node.Hostname}}.{{.Service.Name}}', 'h1-web'))
  t.false(mayName('data-{{.Task.Slot}}', 'other-1'))
})
