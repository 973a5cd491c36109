import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { LocalCopy } from '../../../agent/store/contract.ts'
import { localCopyFields } from '../../../agent/store/disk/copy-schema.ts'
import { emptyTrash } from '../../../agent/store/disk/trash.ts'
import { asNewer, lostFields } from '../../fake/newer-version.ts'
import { calm, captureCheckpoint, newVolume, send, storeHost, temporaryDirectory } from './fixture.ts'

const AT = '2026-02-03T04:05:06.007Z'
const TREE = { name: 'old', epoch: 1, base: { epoch: 1, seq: 1 }, at: AT, bytes: 5 }
const SEEN = {
  epoch: 4,
  holder: { host: 'h1', incarnation: 'i' },
  last: { epoch: 4, seq: 3, hash: 'a'.repeat(64) },
}
const USES = { unmountsMs: [1], ground: { ends: { c: 5 }, live: ['c'], since: [] } }

const read = (path: string) => JSON.parse(readFileSync(path, 'utf8'))

/** A copy whose `volume.json` a newer version wrote, with everything in it that there can be. */
async function newerCopy(t: ExecutionContext, more: object = {}) {
  const host = await storeHost(t)
  const v = newVolume()
  await host.store.create(v)
  writeFileSync(join(host.data(v.id), 'file'), 'content')
  const checkpoint = captureCheckpoint(await host.store.capture(v.id, 'quiet', calm), 3)
  const directory = join(host.stateDir, 'volumes', v.id)
  mkdirSync(join(directory, 'diverged', TREE.name), { recursive: true })
  const held = { epoch: 4, incarnation: 'i' }
  const marks = { epochSeen: 4, mounts: { a: 1 }, uses: USES, recordSeen: SEEN }
  await host.store.update(v.id, { checkpoint, held, diverged: [TREE], ...marks })
  const path = join(directory, 'volume.json')
  const before = asNewer({ ...read(path), ...more }, 1)
  writeFileSync(path, JSON.stringify(before))
  return { ...host, v, before, now: () => read(path) as LocalCopy }
}

test('what a newer version put into volume.json is kept at every depth by every change', async (t) => {
  const { store, v, before, now } = await newerCopy(t)
  // The sample has all fields: a new one belongs into it.
  t.deepEqual(Object.keys(before).sort(), ['fromNewer', 'version', ...Object.keys(localCopyFields)].sort())
  await store.update(v.id, { epochSeen: 5 })
  t.deepEqual(now() as unknown, { ...before, epochSeen: 5 })
  await store.update(v.id, { held: null, mounts: {} })
  t.deepEqual(lostFields({ ...before, held: null }, now()), [])
  writeFileSync(join(store.mountpoint(v.id), '..', '..', 'volumes', v.id, 'data', 'file'), 'other')
  await store.capture(v.id, 'quiet', calm)
  t.not(now().damaged, null)
  await store.diverge(v.id, AT, null)
  t.deepEqual(lostFields({ ...before, held: null, checkpoint: null }, now()), [])
  t.is(now().diverged.length, 2)
})

test('an apply keeps what a newer version put into the record, and what came with the checkpoint', async (t) => {
  const { store, v, before, now } = await newerCopy(t, {
    held: null,
    mounts: {},
    uses: { unmountsMs: [], ground: null },
  })
  const source = await storeHost(t)
  await source.store.create(v)
  writeFileSync(join(source.data(v.id), 'file'), 'next')
  const checkpoint = asNewer(captureCheckpoint(await source.store.capture(v.id, 'quiet', calm), 7), 2)
  await send(source.store, store, v)
  await store.apply(v.id, checkpoint)
  t.deepEqual(now().checkpoint, checkpoint)
  t.deepEqual(lostFields({ ...before, checkpoint: null }, now()), [])
})

test('a volume.json in a later format is refused alone, by name, and is left as it is', async (t) => {
  const writtenBy = { host: 'node2', version: '9.9.9' }
  const { store, stateDir, v, now } = await newerCopy(t, { readableFrom: 2, writtenBy })
  const text = readFileSync(join(stateDir, 'volumes', v.id, 'volume.json'), 'utf8')
  const other = newVolume()
  await store.create(other)
  const refusal = { code: 'VERSION_SKEW', message: /volume\.json has format 2.*host node2 .* Wherry 9\.9\.9/ }
  await t.throwsAsync(store.copy(v.id), refusal)
  await t.throwsAsync(store.create(v), refusal)
  await t.throwsAsync(store.update(v.id, { held: null }), refusal)
  await t.throwsAsync(store.mount(v.id), refusal)
  await t.throwsAsync(store.capture(v.id, 'quiet', calm), refusal)
  await t.throwsAsync(store.diverge(v.id, AT, null), refusal)
  await store.recover()
  const { copies, damaged } = await store.copies()
  t.deepEqual(
    copies.map(({ id }) => id),
    [other.id],
  )
  t.like(damaged, { 0: { code: 'VERSION_SKEW' }, length: 1 })
  t.is(readFileSync(join(stateDir, 'volumes', v.id, 'volume.json'), 'utf8'), text)
  t.truthy(now())
})

test('promise 7: what a newer version noted of the trash is kept, and its ages count', async (t) => {
  const trash = join(await temporaryDirectory(t), 'trash')
  mkdirSync(join(trash, `${newVolume().id}-1770000000000`), { recursive: true })
  await emptyTrash(trash, 1_000_000, 1_000)
  writeFileSync(`${trash}.json`, JSON.stringify(asNewer(read(`${trash}.json`), 1)))
  await emptyTrash(trash, 1_000_000, 900_000)
  const after = read(`${trash}.json`)
  t.deepEqual([after.fromNewer, Object.values(after.ages)[0]], [1, 899_000])
})
