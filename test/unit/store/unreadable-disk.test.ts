import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { dropCachedTree } from '../../../agent/store/inode/page-cache.ts'
import { calm, newVolume, send, storeHost, temporaryDirectory } from './fixture.ts'

/** The metadata of a file system of this size lies below it, files lie above. */
const READABLE_BYTES = 4 * 1024 * 1024
const EIO = /failed: EIO/

/** A host whose volume lies on a disk of its own, which `fail` makes unreadable but for its metadata. */
async function failingSource(t: ExecutionContext) {
  const base = await temporaryDirectory(t)
  const run = (script: string) => execFileSync('sh', ['-ec', script], { cwd: base, stdio: 'pipe' })
  run('truncate -s 100M image && mkfs.ext4 -q -b 4096 -O ^has_journal -E lazy_itable_init=0 image')
  const [one, two] = [await storeHost(t), await storeHost(t)]
  const v = newVolume()
  await one.store.create(v)
  const data = one.data(v.id)
  run(`mount -o loop image ${data}`)
  t.teardown(() => execFileSync('umount', [data]))
  // Takes what room there is among the metadata.
  writeFileSync(join(data, 'first'), randomBytes(READABLE_BYTES))
  const fail = async () => {
    run(`sync -f ${data}; mount -o remount,ro ${data}`)
    truncateSync(join(base, 'image'), READABLE_BYTES)
    await dropCachedTree(data)
  }
  return { one, two, v, data, fail }
}

test('a file that cannot be read makes the capture fail, naming it', async (t) => {
  const { one, v, data, fail } = await failingSource(t)
  mkdirSync(join(data, 'directory'))
  writeFileSync(join(data, 'directory', 'large'), randomBytes(9_000_000))
  await fail()
  const error = await t.throwsAsync(one.store.capture(v.id, 'quiet', calm), {
    code: 'SYSTEM_CALL_FAILED',
    message: EIO,
  })
  t.regex(error?.message ?? '', /first|directory\/large/)
})

test('a large file that cannot be read any more makes the copy fail, naming it', async (t) => {
  const { one, two, v, data, fail } = await failingSource(t)
  mkdirSync(join(data, 'directory'))
  writeFileSync(join(data, 'directory', 'large'), randomBytes(9_000_000))
  await one.store.capture(v.id, 'quiet', calm)
  await fail()
  const error = await t.throwsAsync(send(one.store, two.store, v), { code: 'SYSTEM_CALL_FAILED', message: EIO })
  t.regex(error?.message ?? '', /first|directory\/large/)
})

test('a small file that cannot be read any more makes the copy fail, naming it: it has not changed', async (t) => {
  const { one, two, v, data, fail } = await failingSource(t)
  mkdirSync(join(data, 'directory'))
  for (let n = 0; n < 50; n += 1) writeFileSync(join(data, 'directory', `f${n}`), randomBytes(20_000))
  await one.store.capture(v.id, 'quiet', calm)
  await fail()
  const error = await t.throwsAsync(send(one.store, two.store, v), { code: 'SYSTEM_CALL_FAILED', message: EIO })
  t.regex(error?.message ?? '', /directory\/f\d+/)
})
