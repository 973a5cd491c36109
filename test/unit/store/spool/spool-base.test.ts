import { randomBytes } from 'node:crypto'
import { appendFileSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { calm, newVolume, storeHost } from '../fixture.ts'
import { Held } from './held.ts'

/** Of several blocks. */
const LARGE_BYTES = 1024 * 1024

/**
 * A volume whose container ended, and whose release got no further than its look at the tree: the registry was away, or
 * the agent was killed.
 */
async function cutOffRelease(it: Held): Promise<void> {
  await it.host.store.capture(it.volume.id, 'quiet', calm)
}

test('promise 5: after a release that was cut off, a round tells what no checkpoint has', async (t) => {
  const it = await Held.begin(await storeHost(t), newVolume())
  const two = await storeHost(t)
  writeFileSync(join(it.data, 'file'), 'one')
  t.true((await it.copyTo(two, await it.take())).complete)
  const { store } = it.host
  t.false((await store.spoolRound(it.volume.id, calm)).changed)
  writeFileSync(join(it.data, 'precious'), 'acknowledged')
  await cutOffRelease(it)
  t.true((await store.spoolRound(it.volume.id, calm)).changed)
  t.true((await store.spoolRound(it.volume.id, calm)).changed)
  const taken = await it.take()
  t.false((await store.spoolRound(it.volume.id, calm)).changed)
  t.true((await it.copyTo(two, taken)).complete)
})

test('promise 5: after a release that was cut off, the spool has all that the copies lack', async (t) => {
  const it = await Held.begin(await storeHost(t), newVolume())
  const two = await storeHost(t)
  const large = join(it.data, 'large')
  writeFileSync(large, randomBytes(LARGE_BYTES))
  writeFileSync(join(it.data, 'small'), 'one')
  await it.copyTo(two, await it.take())
  appendFileSync(large, randomBytes(LARGE_BYTES))
  writeFileSync(join(it.data, 'small'), 'two')
  await cutOffRelease(it)
  const spooled = await it.rounds(1)
  t.true(spooled > LARGE_BYTES && spooled < 1.5 * LARGE_BYTES, `spooled ${spooled}, not the whole tree and not nothing`)
  const taken = await it.take()
  writeFileSync(large, randomBytes(2 * LARGE_BYTES))
  writeFileSync(join(it.data, 'small'), 'three')
  t.true((await it.copyTo(two, taken)).complete)
})

test('after a release that was cut off, the agent that comes next knows the checkpoint as well', async (t) => {
  const it = await Held.begin(await storeHost(t), newVolume())
  const two = await storeHost(t)
  writeFileSync(join(it.data, 'kept'), randomBytes(LARGE_BYTES))
  await it.copyTo(two, await it.take())
  writeFileSync(join(it.data, 'file'), 'two')
  await cutOffRelease(it)
  await it.host.store[Symbol.asyncDispose]()
  const next = new Held(await storeHost(t, it.host.stateDir), it.volume)
  await next.host.store.recover()
  next.seq = it.seq
  const round = await next.host.store.spoolRound(it.volume.id, calm)
  t.true(round.changed)
  t.true(round.bytesSpooled < LARGE_BYTES)
  const taken = await next.take()
  writeFileSync(join(it.data, 'file'), 'three')
  t.true((await next.copyTo(two, taken)).complete)
})

test('a tree that is put back to its checkpoint after such a look differs from nothing', async (t) => {
  const it = await Held.begin(await storeHost(t), newVolume())
  const file = join(it.data, 'file')
  writeFileSync(file, 'one')
  utimesSync(file, 1, 1)
  const taken = await it.take()
  writeFileSync(file, 'two')
  await cutOffRelease(it)
  writeFileSync(file, 'one')
  utimesSync(file, 1, 1)
  t.is((await it.host.store.capture(it.volume.id, 'quiet', calm)).hash, taken.hash)
  t.false((await it.host.store.spoolRound(it.volume.id, calm)).changed)
})
