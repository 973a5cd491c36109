import { randomBytes } from 'node:crypto'
import { existsSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { differences } from '../comparer.ts'
import { host, volume } from '../fixture.ts'
import { frozen, Held } from './held.ts'

const BLOCK_BYTES = 64 * 1024

async function held(t: ExecutionContext): Promise<Held> {
  return await Held.begin(await host(t), volume())
}

test('promise 5: a copy at the checkpoint before gets the next one exactly, though the tree has moved on', async (t) => {
  const it = await held(t)
  const two = await host(t)
  writeFileSync(join(it.data, 'large'), randomBytes(20 * BLOCK_BYTES))
  writeFileSync(join(it.data, 'small'), 'one')
  writeFileSync(join(it.data, 'stays'), randomBytes(5 * BLOCK_BYTES))
  await it.rounds(2)
  t.true((await it.copyTo(two, await it.take())).complete)
  t.deepEqual(differences(it.data, two.data(it.volume.id)), [])
  const large = randomBytes(20 * BLOCK_BYTES)
  writeFileSync(join(it.data, 'large'), large)
  writeFileSync(join(it.data, 'small'), 'two')
  renameSync(join(it.data, 'stays'), join(it.data, 'moved'))
  t.is(await it.rounds(1), 20 * BLOCK_BYTES + 4096 + 512)
  writeFileSync(join(it.data, 'late'), randomBytes(3 * BLOCK_BYTES))
  let then = ''
  const taken = await it.take('quiet', async () => {
    then = await frozen(t, it.data)
  })
  for (const name of ['large', 'small', 'late']) writeFileSync(join(it.data, name), randomBytes(20 * BLOCK_BYTES))
  rmSync(join(it.data, 'small'))
  t.true((await it.copyTo(two, taken)).complete)
  t.deepEqual(differences(then, two.data(it.volume.id)), [])
})

test('a release drops the spool, and its tree is the last one', async (t) => {
  const it = await held(t)
  const two = await host(t)
  writeFileSync(join(it.data, 'file'), 'one')
  await it.copyTo(two, await it.take())
  writeFileSync(join(it.data, 'file'), 'two')
  const { hash } = await it.host.store.capture(it.volume.id, 'quiet', new AbortController().signal)
  t.false(existsSync(join(it.host.stateDir, 'volumes', it.volume.id, 'spool')))
  await using reader = await it.host.store.reader(it.volume.id, 'last')
  t.is(reader.hash, hash)
  await t.throwsAsync(it.host.store.reader(it.volume.id, 'spool'), { code: 'NOT_AT_CHECKPOINT' })
})
