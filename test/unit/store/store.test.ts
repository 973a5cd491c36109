import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { describeTree } from './comparer.ts'
import { calm, captureCheckpoint, newVolume, send, storeHost, VOLUME_OPTIONS } from './fixture.ts'

test('a copy is made once, with its owner and mode, and is found again by another process', async (t) => {
  const one = await storeHost(t)
  const v = { ...newVolume(), options: { ...DEFAULT_OPTIONS, uid: 70, gid: 71, mode: 0o1770 } }
  const made = await one.store.create(v)
  t.deepEqual(await one.store.create({ ...v, name: 'other' }), made)
  t.regex(describeTree(one.data(v.id))[0] ?? '', /d 1770 70 71/)
  const recordSeen = { epoch: 3, holder: { host: 'h1', incarnation: 'x' }, last: { epoch: 2, seq: 1, hash: 'h' } }
  await one.store.update(v.id, { held: { epoch: 3, incarnation: 'x' }, epochSeen: 3, mounts: { a: 2 }, recordSeen })
  await one.store[Symbol.asyncDispose]()
  const again = await storeHost(t, one.stateDir)
  t.deepEqual(await again.store.copies(), {
    copies: [
      {
        ...v,
        checkpoint: null,
        held: { epoch: 3, incarnation: 'x' },
        applying: false,
        damaged: null,
        diverged: [],
        epochSeen: 3,
        mounts: { a: 2 },
        uses: { unmountsMs: [], ground: null },
        recordSeen,
      },
    ],
    damaged: [],
  })
})

test('promise 8: the highest epoch seen never goes down, and changes at the same time all count', async (t) => {
  const { store } = await storeHost(t)
  const v = newVolume()
  await store.create(v)
  await Promise.all([
    store.update(v.id, { epochSeen: 9 }),
    store.update(v.id, { mounts: { a: 1 } }),
    store.update(v.id, { epochSeen: 4, name: 'renamed' }),
  ])
  const copy = await store.copy(v.id)
  t.is(copy?.epochSeen, 9)
  t.deepEqual(copy?.mounts, { a: 1 })
  t.is(copy?.name, 'renamed')
})

test('promise 7: a directory that cannot be understood is reported and left alone', async (t) => {
  const { store, stateDir } = await storeHost(t)
  const v = newVolume()
  await store.create(v)
  const record = join(stateDir, 'volumes', v.id, 'volume.json')
  const good = readFileSync(record, 'utf8')
  for (const bad of ['', '{', good.replace('"version": 1', '"version": 2'), good.replace(v.id, 'someone-else')]) {
    writeFileSync(record, bad)
    const { copies, damaged } = await store.copies()
    t.deepEqual(copies, [])
    t.is(damaged[0]?.path, join(stateDir, 'volumes', v.id))
    await t.throwsAsync(store.copy(v.id), { code: 'COPY_DAMAGED' })
    await t.throwsAsync(store.create(v), { code: 'COPY_DAMAGED' })
    await store.recover()
    t.is(readFileSync(record, 'utf8'), bad)
  }
  rmSync(record)
  t.is((await store.copies()).damaged.length, 1)
})

test('an id that is no plain word never becomes a path', async (t) => {
  const { store } = await storeHost(t)
  for (const id of ['', '.', '..', '../x', 'a/b', '/etc', 'a\0b', '.new-x', 'x'.repeat(65)]) {
    await t.throwsAsync(async () => store.copy(id), { code: 'REQUEST_INVALID' }, id)
    await t.throwsAsync(
      async () => store.create({ id, name: 'x', options: VOLUME_OPTIONS }),
      { code: 'REQUEST_INVALID' },
      id,
    )
    await t.throwsAsync(async () => store.unmount(id), { code: 'REQUEST_INVALID' }, id)
  }
})

test('two processes never work in one state directory', async (t) => {
  const one = await storeHost(t)
  await t.throwsAsync(storeHost(t, one.stateDir), { code: 'STATE_LOCKED' })
  await one.store[Symbol.asyncDispose]()
  await t.notThrowsAsync(storeHost(t, one.stateDir))
})

test('a tree is mounted once however often it is asked for, and unmounting may be repeated', async (t) => {
  const { store, data, stateDir } = await storeHost(t)
  const v = newVolume()
  await store.create(v)
  t.teardown(() => store.unmount(v.id))
  const paths = await Promise.all([store.mount(v.id), store.mount(v.id), store.mount(v.id)])
  t.deepEqual(new Set(paths), new Set([store.mountpoint(v.id)]))
  t.deepEqual(await store.mounted(), new Set([v.id]))
  writeFileSync(join(store.mountpoint(v.id), 'file'), 'through the mount')
  t.is(readFileSync(join(data(v.id), 'file'), 'utf8'), 'through the mount')
  await t.throwsAsync(store.trash(v.id), { code: 'VOLUME_IN_USE' })
  await store.unmount(v.id)
  await store.unmount(v.id)
  t.is((await store.mounted()).size, 0)
  t.false(existsSync(join(stateDir, 'mnt', v.id)))
})

test('a mount that is open for writing says VOLUME_BUSY and stays', async (t) => {
  const { store } = await storeHost(t)
  const v = newVolume()
  await store.create(v)
  const user = spawn('sh', ['-c', 'exec 9> log; echo open; exec sleep 600'], { cwd: await store.mount(v.id) })
  await once(user.stdout, 'data')
  await t.throwsAsync(store.unmount(v.id), { code: 'VOLUME_BUSY' })
  t.true((await store.mounted()).has(v.id))
  user.kill('SIGKILL')
  await once(user, 'exit')
  await store.unmount(v.id)
})

test('promise 7: a removed copy is kept in the trash for its time, then deleted whatever its names', async (t) => {
  const { store, data, stateDir } = await storeHost(t)
  const v = newVolume()
  await store.create(v)
  execFileSync('sh', ['-c', 'mkdir "$(printf "d\\377")" && echo x > "$(printf "d\\377/f\\376")" && ln -s / root'], {
    cwd: data(v.id),
  })
  await store.trash(v.id)
  await store.trash(v.id)
  t.is(await store.copy(v.id), null)
  const [kept] = readdirSync(join(stateDir, 'trash'))
  t.true(kept?.startsWith(`${v.id}-`))
  mkdirSync(join(stateDir, 'trash', 'of-someone-else'))
  t.deepEqual(await store.emptyTrash(50_000), [])
  t.deepEqual(await store.emptyTrash(55_000), [kept])
  t.deepEqual(readdirSync(join(stateDir, 'trash')), ['of-someone-else'])
})

test('promise 7: a copy that is set aside is named after its volume, is listed, and is never deleted', async (t) => {
  const { store, data, stateDir } = await storeHost(t)
  const [lost, removed] = [
    { ...newVolume(), name: 'n'.repeat(255) },
    { ...newVolume(), name: 'old' },
  ]
  for (const v of [lost, removed]) await store.create(v)
  writeFileSync(join(data(lost.id), 'file'), 'precious')
  await store.mount(lost.id)
  await t.throwsAsync(store.setAside(lost.id), { code: 'VOLUME_IN_USE' })
  await store.unmount(lost.id)
  const directory = await store.setAside(lost.id)
  t.regex(directory, new RegExp(`^set-aside/n{100,200}-${lost.id}-\\d+$`))
  t.is(readFileSync(join(stateDir, directory, 'data', 'file'), 'utf8'), 'precious')
  t.is(await store.copy(lost.id), null)
  await store.trash(removed.id)
  mkdirSync(join(stateDir, 'set-aside', 'of-someone-else'))
  const found = await store.removed()
  t.deepEqual(
    found.map(({ id, name }) => [id, name]),
    [
      [removed.id, 'old'],
      [lost.id, lost.name],
    ],
  )
  t.is(typeof found[0]?.until, 'string')
  t.like(found[1], { directory, until: null })
  await store.emptyTrash(1)
  await store.emptyTrash(1e12)
  t.deepEqual(
    (await store.removed()).map(({ id }) => id),
    [lost.id],
  )
})

test('a copy that was being made when the process died is made anew', async (t) => {
  const { store, stateDir } = await storeHost(t)
  const unborn = join(stateDir, 'volumes', '.new-01ABC')
  mkdirSync(join(unborn, 'data'), { recursive: true })
  t.deepEqual(await store.copies(), { copies: [], damaged: [] })
  await store.recover()
  t.false(existsSync(unborn))
})

test('what this host has no copy of is refused by name', async (t) => {
  const { store } = await storeHost(t)
  const { id } = newVolume()
  for (const call of [
    store.update(id, {}),
    store.capture(id, 'quiet', calm),
    store.reader({ id: id, kind: 'last' }),
    store.mount(id),
  ]) {
    await t.throwsAsync(call, { code: 'NOT_AT_CHECKPOINT' })
  }
  t.is(await store.copy(id), null)
})

test('promise 7: a copy that is held or mounted is never overwritten', async (t) => {
  const [one, two] = [await storeHost(t), await storeHost(t)]
  const v = newVolume()
  await one.store.create(v)
  await two.store.create(v)
  writeFileSync(join(two.data(v.id), 'precious'), 'written by the holder')
  const before = describeTree(two.data(v.id))
  const capture = await one.store.capture(v.id, 'quiet', calm)
  await send(one.store, two.store, v)
  await two.store.update(v.id, { held: { epoch: 1, incarnation: 'x' } })
  await t.throwsAsync(two.store.apply(v.id, captureCheckpoint(capture)), { code: 'VOLUME_IN_USE' })
  await two.store.update(v.id, { held: null })
  await two.store.mount(v.id)
  await t.throwsAsync(two.store.apply(v.id, captureCheckpoint(capture)), { code: 'VOLUME_IN_USE' })
  await two.store.unmount(v.id)
  t.deepEqual(describeTree(two.data(v.id)), before)
})
