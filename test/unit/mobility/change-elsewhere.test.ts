import test from 'ava'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { type MemoryHost, World } from './world.ts'

const SECONDS = 20

/** Calls `count` whenever the host's engine lists its containers. */
function countListings(host: MemoryHost, users: MemoryHost['users'], count: () => void): void {
  const get = () => {
    count()
    return users
  }
  Object.defineProperty(host, 'users', { get })
}

/** Lets another host's volume change so often a second, and counts what a host without a copy does meanwhile. */
async function bystanderWork(perSecond: number) {
  const world = await World.start(2)
  const { store } = world.host(2)
  await world.host(1).agent.create('data', { ...DEFAULT_OPTIONS, copies: 1 })
  await world.clock.until(world.host(1).agent.mount('data', 'm', 10_000))
  // The hold itself may have named both hosts.
  await world.clock.advance(15_000)
  const counts = { listings: 0, copies: 0, records: 0, lists: 0 }
  countListings(world.host(2), [], () => counts.listings++)
  const copies = store.copies.bind(store)
  store.copies = async () => {
    counts.copies++
    return await copies()
  }
  const read = world.registry.volume.bind(world.registry)
  const list = world.registry.followedVolumes.bind(world.registry)
  world.registry.followedVolumes = async () => {
    counts.lists++
    return await list()
  }
  let isOwn = false
  world.registry.volume = async (name) => {
    if (!isOwn) counts.records++
    return await read(name)
  }
  for (let nth = 0; nth < SECONDS * Math.max(1, perSecond); nth++) {
    if (perSecond > 0) {
      isOwn = true
      const entry = await world.registry.volume('data')
      isOwn = false
      if (entry !== null) await world.registry.updateVolume(entry.value, entry.revision)
    }
    await world.clock.advance(1_000 / Math.max(1, perSecond))
  }
  return counts
}

test('a change of a volume makes a host that has nothing to do with it neither work nor read', async (t) => {
  const idle = await bystanderWork(0)
  t.true(idle.listings > 0)
  const busy = await bystanderWork(20)
  t.true(busy.listings <= idle.listings + 1, `${busy.listings} listings in place of ${idle.listings}`)
  t.true(busy.copies <= idle.copies + 2, `${busy.copies} scans of the disk in place of ${idle.copies}`)
  // Two hosts sweep once a minute.
  t.true(busy.lists <= 2, `${busy.lists} reads of all volumes`)
  t.true(busy.records <= idle.records + 2, `${busy.records} reads of records in place of ${idle.records}`)
})

test('rounds of the reconcile loop are spaced, however often the volumes of this host change', async (t) => {
  const world = await World.start(1)
  const { agent } = world.host(1)
  await agent.create('data', { ...DEFAULT_OPTIONS, copies: 1 })
  await world.clock.until(agent.mount('data', 'm', 10_000))
  let listings = 0
  countListings(world.host(1), [{ id: 'c', name: 'db', state: 'running', volumes: ['data'] }], () => listings++)
  for (let nth = 0; nth < 20 * SECONDS; nth++) {
    const entry = await world.registry.volume('data')
    if (entry !== null) await world.registry.updateVolume(entry.value, entry.revision)
    await world.clock.advance(50)
  }
  t.true(listings > SECONDS / 2)
  t.true(listings <= 2 * SECONDS + 1, `${listings} rounds in ${SECONDS} s`)
})
