import {
  appendFileSync,
  linkSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { allocatedBytes, describeTree } from './comparer.ts'
import { move, newVolume, storeHost } from './fixture.ts'
import { buildOddTree } from './odd-tree.ts'

test('promise 3: what arrives is what was sent, for every kind of inode and attribute', async (t) => {
  const [one, two] = [await storeHost(t), await storeHost(t)]
  const v = newVolume()
  await one.store.create(v)
  buildOddTree(one.data(v.id))
  const before = describeTree(one.data(v.id))
  t.is(before.length, 35)
  const { hash } = await move(one.store, two.store, v)
  t.deepEqual(describeTree(two.data(v.id)), before)
  t.deepEqual(describeTree(one.data(v.id)), before, 'the source was not touched')
  t.true(allocatedBytes(two.data(v.id)) < allocatedBytes(one.data(v.id)) + 300_000, 'holes stayed holes')
  const again = await two.store.capture(v.id, 'quiet', new AbortController().signal)
  t.is(again.hash, hash)
  t.is(again.filesRead, 0, 'what was applied need not be read again')
})

test('a second move brings over any change of kind, name, link or attribute, and sends only new content', async (t) => {
  const [one, two] = [await storeHost(t), await storeHost(t)]
  const v = newVolume()
  await one.store.create(v)
  const data = one.data(v.id)
  buildOddTree(data)
  await move(one.store, two.store, v)

  rmSync(join(data, 'a'), { recursive: true })
  writeFileSync(join(data, 'a'), 'directory became file')
  unlinkSync(join(data, 'zeros'))
  mkdirSync(join(data, 'zeros'))
  writeFileSync(join(data, 'zeros', 'inside'), 'file became directory')
  renameSync(join(data, 'plain', 'big'), join(data, 'plain', 'deep', 'moved'))
  unlinkSync(join(data, 'hard2'))
  writeFileSync(join(data, 'hard2'), 'hello')
  linkSync(join(data, 'plain', 'empty'), join(data, 'newly-linked'))
  unlinkSync(join(data, 'plain', 'to-hello'))
  symlinkSync('elsewhere', join(data, 'plain', 'to-hello'))
  unlinkSync(join(data, 'fifo'))
  writeFileSync(join(data, 'fifo'), '')
  appendFileSync(join(data, 'acl', 'file'), 'more')
  const { sentBytes } = await move(one.store, two.store, v, 2)
  t.deepEqual(describeTree(two.data(v.id)), describeTree(data))
  t.true(sentBytes < 1000, `${sentBytes} bytes were sent; the renamed file was there already`)

  await move(two.store, one.store, v, 3)
  t.deepEqual(describeTree(one.data(v.id)), describeTree(two.data(v.id)))
})

test('an empty volume moves, with its root directory', async (t) => {
  const [one, two] = [await storeHost(t), await storeHost(t)]
  const v = { ...newVolume(), options: { ...DEFAULT_OPTIONS, uid: 12, gid: 34, mode: 0o2750 } }
  await one.store.create(v)
  await move(one.store, two.store, v)
  t.deepEqual(describeTree(two.data(v.id)), describeTree(one.data(v.id)))
  t.regex(describeTree(two.data(v.id))[0] ?? '', /d 2750 12 34/)
})
