import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import test from 'ava'
import { isUnwritable } from '../../../agent/sys/failure.ts'
import { fileSystem } from './file-systems.ts'
import { calm, captureCheckpoint, newVolume, send, storeHost } from './fixture.ts'

test('promise 3: a store whose disk has become read-only still sends its tree, newest writes included', async (t) => {
  const root = fileSystem(t, 'ext4', { mebibytes: 64, mountOptions: ['errors=remount-ro'] })
  const { store, data } = await storeHost(t, root)
  const there = await storeHost(t)
  const one = newVolume()
  await store.create(one)
  await store.update(one.id, { held: { epoch: 1, incarnation: 'i' } })
  await store.probe()
  writeFileSync(join(data(one.id), 'small'), 'written before')
  writeFileSync(join(data(one.id), 'large'), Buffer.alloc(300_000, 'x'))
  await store.capture(one.id, 'quiet', calm)
  writeFileSync(join(data(one.id), 'small'), 'written last')
  const device = execFileSync('findmnt', ['-n', '-o', 'SOURCE', root], { encoding: 'utf8' }).trim()
  writeFileSync(`/sys/fs/ext4/${basename(device)}/trigger_fs_error`, '1')

  for (const refused of [
    () => store.probe(),
    () => store.update(one.id, { held: null }),
    () => store.capture(one.id, 'quiet', calm),
  ]) {
    t.true(isUnwritable(await t.throwsAsync(refused)))
  }
  const found = await store.captureAside(one.id, calm)
  const sent = await send(store, there.store, one, 'aside')
  t.true(sent.complete)
  t.is(sent.hash, found.hash)
  await there.store.apply(one.id, captureCheckpoint(found))
  t.is(readFileSync(join(there.data(one.id), 'small'), 'utf8'), 'written last')
  t.is(readFileSync(join(there.data(one.id), 'large')).length, 300_000)
})
