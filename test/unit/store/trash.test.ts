import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { moveAside, removedCopies } from '../../../agent/store/disk/removed-copies.ts'
import { emptyTrash, moveToTrash, trashedUntil } from '../../../agent/store/disk/trash.ts'
import { newVolume, storeHost, temporaryDirectory } from './fixture.ts'

const DAY_MS = 24 * 60 * 60_000
const WEEK_MS = 7 * DAY_MS

/** A trash, and copies that are moved into it when a wall clock shows this and that. */
async function begin(t: Parameters<typeof temporaryDirectory>[0]) {
  const state = await temporaryDirectory(t)
  const trash = join(state, 'trash')
  const put = async (id: string, shown: string) => {
    mkdirSync(join(state, id))
    await moveToTrash(join(state, id), id, trash, new Date(shown))
  }
  return { state, trash, put, there: () => readdirSync(trash).map((name) => name.replace(/-\d+$/, '')) }
}

test('promise 7: what the wall clock shows deletes nothing before its time, and keeps nothing for ever', async (t) => {
  const { trash, put, there } = await begin(t)
  for (const shown of [
    '1970-01-01T00:00:03Z',
    '2001-01-01T00:00:00Z',
    '2026-01-01T00:00:00Z',
    '2200-01-01T00:00:00Z',
    '2300-01-01T00:00:00Z',
  ])
    await put(`of-${shown.slice(0, 4)}`, shown)
  const bootMs = 5_000
  t.deepEqual(await emptyTrash(trash, WEEK_MS, bootMs), [])
  t.deepEqual(await emptyTrash(trash, WEEK_MS, bootMs + WEEK_MS - 1), [])
  t.is(there().length, 5)
  t.is((await emptyTrash(trash, WEEK_MS, bootMs + WEEK_MS)).length, 5)
  t.deepEqual(there(), [])
})

test('what came later stays longer', async (t) => {
  const { trash, put, there } = await begin(t)
  await put('one', '2026-01-01T00:00:00Z')
  await emptyTrash(trash, WEEK_MS, DAY_MS)
  await put('two', '2026-01-01T00:00:00Z')
  await emptyTrash(trash, WEEK_MS, 4 * DAY_MS)
  await emptyTrash(trash, WEEK_MS, 8 * DAY_MS)
  t.deepEqual(there(), ['two'])
  await emptyTrash(trash, WEEK_MS, 11 * DAY_MS)
  t.deepEqual(there(), [])
})

test('promise 7: the trash shows until when a copy stays, by uptime, whatever the clock showed before', async (t) => {
  const { trash, put } = await begin(t)
  for (const shown of ['1970-01-01T00:00:03Z', '2026-01-01T00:00:00Z', '2200-01-01T00:00:00Z']) await put('one', shown)
  const now = new Date('2026-06-01T00:00:00Z')
  const untils = async (elapsedMs: number) => {
    const until = await trashedUntil(trash, WEEK_MS, elapsedMs, now)
    return new Set(readdirSync(trash).map(until))
  }
  t.deepEqual(await untils(DAY_MS), new Set(['2026-06-08T00:00:00.000Z']), 'nobody has seen it yet')
  await emptyTrash(trash, WEEK_MS, DAY_MS)
  t.deepEqual(await untils(3 * DAY_MS), new Set(['2026-06-06T00:00:00.000Z']))
  const ages = `${trash}.json`
  writeFileSync(ages, readFileSync(ages, 'utf8').replace(/"boot":"[^"]*"/, '"boot":"another"'))
  t.deepEqual(await untils(DAY_MS), new Set(['2026-06-07T00:00:00.000Z']), 'the time off does not count')
  t.deepEqual(await untils(9 * DAY_MS), new Set(['2026-06-01T00:00:00.000Z']))
})

test('calls that follow each other closely add up, and so do agents', async (t) => {
  const { trash, put, there } = await begin(t)
  await put('one', '2026-01-01T00:00:00Z')
  for (let ms = 0; ms < DAY_MS; ms += 60_000) await emptyTrash(trash, DAY_MS, 1_000 + ms)
  t.deepEqual(there(), ['one'])
  await emptyTrash(trash, DAY_MS, 1_000 + DAY_MS)
  t.deepEqual(there(), [])
})

test('a reboot takes nothing from what has passed, and adds the time since', async (t) => {
  const { trash, put, there } = await begin(t)
  await put('one', '2026-01-01T00:00:00Z')
  await emptyTrash(trash, WEEK_MS, 30 * DAY_MS)
  await emptyTrash(trash, WEEK_MS, 33 * DAY_MS)
  const ages = `${trash}.json`
  // As if it had been written in another boot.
  writeFileSync(ages, readFileSync(ages, 'utf8').replace(/"boot":"[^"]*"/, '"boot":"another"'))
  await emptyTrash(trash, WEEK_MS, 2 * DAY_MS)
  await emptyTrash(trash, WEEK_MS, 4 * DAY_MS - 1)
  t.deepEqual(there(), ['one'])
  await emptyTrash(trash, WEEK_MS, 4 * DAY_MS)
  t.deepEqual(there(), [])
})

test('what was written down of ages and is damaged begins anew', async (t) => {
  const { trash, put, there } = await begin(t)
  await put('one', '2026-01-01T00:00:00Z')
  await emptyTrash(trash, WEEK_MS, DAY_MS)
  for (const damage of ['', '{', '{"version":2}', 'null']) {
    writeFileSync(`${trash}.json`, damage)
    await emptyTrash(trash, WEEK_MS, 30 * DAY_MS)
    t.deepEqual(there(), ['one'], damage)
  }
})

test('a directory that a person has put there stays, whatever a clock says', async (t) => {
  const { trash } = await begin(t)
  mkdirSync(trash)
  const own = ['backup-2026', 'backup-20261130120000', 'my own things']
  for (const name of own) mkdirSync(join(trash, name))
  await emptyTrash(trash, 0, DAY_MS)
  await emptyTrash(trash, 0, 2 * DAY_MS)
  t.deepEqual(readdirSync(trash).sort(), own)
})

test('without a retention time the trash is emptied at once', async (t) => {
  const { store, stateDir } = await storeHost(t, undefined, undefined, { trashRetentionMs: 0 })
  const v = newVolume()
  await store.create(v)
  await store.trash(v.id)
  t.is((await store.emptyTrash(1)).length, 1)
  t.deepEqual(readdirSync(join(stateDir, 'trash')), [])
})

test('promise 7: what was set aside is announced, whatever the wall clock showed then', async (t) => {
  const state = await temporaryDirectory(t)
  const aside = join(state, 'set-aside')
  const names = ['1969-12-31T00:00:00Z', '1970-01-01T00:00:03Z', '2001-01-01T00:00:00Z', '2200-01-01T00:00:00Z']
  for (const [nth, shown] of names.entries()) {
    const copy = { id: `id${nth}`, name: 'data' }
    mkdirSync(join(state, copy.id))
    writeFileSync(join(state, copy.id, 'volume.json'), JSON.stringify(copy))
    await moveAside(join(state, copy.id), copy, aside, new Date(shown))
  }
  const found = await removedCopies(aside, null, new Map())
  t.deepEqual(found.map(({ id }) => id).sort(), ['id0', 'id1', 'id2', 'id3'])
})

test('what lies in the trash is read once, and forgotten when it is gone', async (t) => {
  const { trash, put } = await begin(t)
  for (const id of ['one', 'two']) {
    await put(id, '2026-01-01T00:00:00Z')
    const [name = ''] = readdirSync(trash).filter((entry) => entry.startsWith(id))
    writeFileSync(join(trash, name, 'volume.json'), JSON.stringify({ id, name: 'data' }))
  }
  const named = new Map()
  const ids = async () => (await removedCopies(trash, () => '', named)).map(({ id }) => id).sort()
  t.deepEqual(await ids(), ['one', 'two'])
  const [first = '', second = ''] = readdirSync(trash).sort()
  writeFileSync(join(trash, first, 'volume.json'), 'not read again')
  rmSync(join(trash, second), { recursive: true })
  t.deepEqual(await ids(), ['one'])
  t.deepEqual([...named.keys()], [first])
})

test('a copy that is moved to the trash while all are listed is not damaged', async (t) => {
  const { store } = await storeHost(t)
  const volumes = Array.from({ length: 60 }, newVolume)
  for (const volume of volumes) await store.create(volume)
  const removing = Promise.all(volumes.map(({ id }) => store.trash(id)))
  let isRemoving = true
  void removing.finally(() => {
    isRemoving = false
  })
  const damaged: unknown[] = []
  while (isRemoving) damaged.push(...(await store.copies()).damaged)
  await removing
  t.deepEqual(damaged, [])
})
