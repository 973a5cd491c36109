import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { describeTree } from './comparer.ts'
import { edit } from './edits.ts'
import { calm, captureCheckpoint, move, newVolume, send, storeHost } from './fixture.ts'

const AT = '2026-02-03T04:05:06.007Z'

test('promise 7: a tree with writes that the cluster never got is put aside, and the copy begins anew', async (t) => {
  const [one, two] = [await storeHost(t), await storeHost(t)]
  const v = { ...newVolume(), options: { ...newVolume().options, uid: 70, gid: 71, mode: 0o750 } }
  await one.store.create(v)
  writeFileSync(join(one.data(v.id), 'file'), 'of the cluster')
  await move(one.store, two.store, v, 3)
  await two.store.update(v.id, { held: { epoch: 4, incarnation: 'x' }, epochSeen: 4, mounts: { a: 1 } })
  edit(two.data(v.id), [
    ['write', 'large', 300_000, 1],
    ['write', 'file', 10, 1],
    ['set_flags', '.', 'immutable'],
  ])
  const then = describeTree(two.data(v.id))
  const copy = await two.store.diverge(v.id, AT, 300_010)
  t.like(copy, { held: null, checkpoint: null, mounts: {}, epochSeen: 4, damaged: null, applying: false })
  const name = '4-3-20260203T040506007Z'
  t.deepEqual(copy.diverged, [{ name, epoch: 4, base: { epoch: 1, seq: 3 }, at: AT, bytes: 300_010 }])
  t.deepEqual(await two.store.copy(v.id), copy)
  const place = join(two.stateDir, 'volumes', v.id, 'diverged', name)
  // Where the root was immutable it is not any more: it could not have been moved.
  t.deepEqual(describeTree(join(place, 'data')).slice(1), then.slice(1))
  t.like(JSON.parse(readFileSync(join(place, 'tree.json'), 'utf8')), { volume: { name: 'data' }, epoch: 4, at: AT })
  t.regex(describeTree(two.data(v.id))[0] ?? '', /d 750 70 71/)
  t.is(describeTree(two.data(v.id)).length, 1)

  await send(one.store, two.store, v)
  await two.store.apply(v.id, captureCheckpoint(await one.store.capture(v.id, 'quiet', calm), 3))
  t.deepEqual(describeTree(two.data(v.id)), describeTree(one.data(v.id)))
  writeFileSync(join(two.data(v.id), 'file'), 'again')
  const again = await two.store.diverge(v.id, AT, null)
  t.deepEqual(
    again.diverged.map((tree) => tree.name),
    [name, '1-3-20260203T040506007Z'],
  )
  await two.store.trash(v.id)
  t.is(await two.store.copy(v.id), null)
})

test('two trees that are put aside in the same moment are both kept', async (t) => {
  const { store, stateDir, data } = await storeHost(t)
  const v = newVolume()
  await store.create(v)
  writeFileSync(join(data(v.id), 'file'), 'one')
  await store.diverge(v.id, AT, null)
  writeFileSync(join(data(v.id), 'file'), 'two')
  const { diverged } = await store.diverge(v.id, AT, null)
  const contents = diverged.map(({ name }) =>
    readFileSync(join(stateDir, 'volumes', v.id, 'diverged', name, 'data', 'file'), 'utf8'),
  )
  t.deepEqual(contents, ['one', 'two'])
})

test('a tree that is mounted, or being filled, is not put aside', async (t) => {
  const { store, data } = await storeHost(t)
  const v = newVolume()
  await store.create(v)
  mkdirSync(join(data(v.id), 'directory'))
  await store.mount(v.id)
  await t.throwsAsync(store.diverge(v.id, AT, null), { code: 'VOLUME_IN_USE' })
  await store.unmount(v.id)
  const writer = await store.writer(v)
  await t.throwsAsync(store.diverge(v.id, AT, null), { code: 'COPY_RUNNING' })
  await writer[Symbol.asyncDispose]()
  t.is((await store.copy(v.id))?.diverged.length, 0)
  await t.throwsAsync(store.diverge(newVolume().id, AT, null), { code: 'NOT_AT_CHECKPOINT' })
  t.is((await store.diverge(v.id, AT, null)).diverged.length, 1)
})

test('a diverged tree that a person has removed is not told of any more', async (t) => {
  const { store, stateDir, data } = await storeHost(t)
  const v = newVolume()
  await store.create(v)
  const trees = []
  for (const content of ['one', 'two']) {
    writeFileSync(join(data(v.id), 'file'), content)
    trees.push((await store.diverge(v.id, AT, 3)).diverged.at(-1)?.name ?? '')
  }
  rmSync(join(stateDir, 'volumes', v.id, 'diverged', trees[0] ?? ''), { recursive: true })
  const names = async () => (await store.copies()).copies[0]?.diverged.map(({ name }) => name)
  t.deepEqual(await names(), trees.slice(1))
  await store.update(v.id, { epochSeen: 7 })
  t.deepEqual(await names(), trees.slice(1))
})
