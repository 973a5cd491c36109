import test from 'ava'
import { WherryError } from '../../../agent/model/errors.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { World } from './world.ts'

const DEADLINE_MS = 100_000
const OPTIONS = { ...DEFAULT_OPTIONS, copies: 2 }
const FORCE = { force: true, acceptLoss: false }
const never = () => new AbortController().signal

/** A container runs on host 1 with a volume that all know. */
async function usedVolume() {
  const world = await World.start(3)
  const [h1, h2] = [world.host(1), world.host(2)]
  await h1.agent.create('data', OPTIONS)
  await world.use(1, 'data', 'old')
  const { id } = await world.record('data')
  await world.clock.until(h1.agent.mount('data', 'm', DEADLINE_MS))
  h1.users = [{ id: 'c', name: 'db', state: 'running', volumes: ['data'] }]
  await world.pass(3_000)
  return { world, id, h1, h2 }
}

test('promise 2: a Mount gets the new volume, not the one that was removed by force and is still held here under its name', async (t) => {
  const { world, id, h1, h2 } = await usedVolume()
  // Its engine is slow, so it comes late to what the tombstone says.
  h1.engineMs = 10_000
  await world.clock.until(h2.agent.removeWith('data', FORCE, never()))
  await world.clock.until(h2.agent.create('data', OPTIONS))
  const now = await world.record('data')
  t.not(now.id, id)
  t.truthy((await h1.store.copy(id))?.held, 'the old one is held here')
  const { mountpoint } = await world.clock.until(h1.agent.mount('data', 'new', DEADLINE_MS))
  t.is(mountpoint, h1.store.mountpoint(now.id))
})

test('promise 9: a further use of a volume that is held is mounted while the registry does not answer, or has lost it', async (t) => {
  const { world, id, h1 } = await usedVolume()
  h1.connected = false
  const { mountpoint } = await world.clock.until(h1.agent.mount('data', 'm2', DEADLINE_MS))
  t.is(mountpoint, h1.store.mountpoint(id))
  h1.connected = true
  const { revision } = (await world.registry.volume('data')) ?? { revision: 0 }
  await world.registry.deleteVolume('data', revision)
  await world.clock.until(h1.agent.mount('data', 'm3', DEADLINE_MS))
  t.deepEqual(Object.keys((await h1.store.copy(id))?.mounts ?? {}), ['m', 'm2', 'm3'])
})

test('a Mount of a new volume names what keeps the removed one of its name from being put away', async (t) => {
  const { world, h1, h2 } = await usedVolume()
  const { unmount } = h1.store
  h1.store.unmount = () => Promise.reject(new WherryError('VOLUME_BUSY', 'It is used by: process 7 (sh) can write.'))
  await world.clock.until(h2.agent.removeWith('data', FORCE, never()))
  await world.clock.until(h2.agent.create('data', OPTIONS))
  await world.pass(5_000)
  const refused = t.throwsAsync(h1.agent.mount('data', 'new', 2_000), {
    code: 'VOLUME_BUSY',
    message: /h1 .*cannot be put away: .*process 7 \(sh\) can write\.$/,
  })
  await world.clock.until(refused)
  h1.store.unmount = unmount
  await world.clock.until(h1.agent.mount('data', 'new', DEADLINE_MS))
})
