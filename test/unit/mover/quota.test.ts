import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { differences } from '../store/comparer.ts'
import { fileSystem } from '../store/file-systems.ts'
import { quotaOf } from '../store/quota.ts'
import { checkpoint, KIBIBYTE, MEBIBYTE, noAbort, writeNoise } from './kit.ts'
import { pair } from './pair.ts'

/** PostgreSQL's, in its image. */
const OWNER = 70

/** The receiver's state has a quota; 6 MiB are at its checkpoint. */
async function limitedPair(t: ExecutionContext) {
  const disk = fileSystem(t, 'btrfs')
  const stateDir = join(disk, 'state')
  const setQuota = quotaOf(disk, stateDir)
  const it = await pair(t, { stateDir, largeMebibytes: 5, smallKibibytes: 50, owner: OWNER })
  const { receiver, v, tree, first, old } = it
  /** The copy is at its old checkpoint, byte by byte. */
  const checkOld = async () => {
    t.like(await receiver.store.copy(v.id), { applying: false, checkpoint: { seq: 1, hash: first.hash } })
    t.deepEqual(differences(old, tree), [])
  }
  /** As the store itself sees it; that needs some room. */
  const checkVerified = async () => {
    t.is((await receiver.store.verify(v.id, noAbort())).damagedCount, 0)
  }
  return { ...it, setQuota, checkOld, checkVerified }
}

test('a quota that is reached while a copy comes keeps the old checkpoint; when it is raised the copy goes on', async (t) => {
  const { receiver, v, data, tree, setQuota, capture, pull, checkOld, checkVerified } = await limitedPair(t)
  setQuota(16)
  writeNoise(join(data, 'new'), 20)
  for (let n = 0; n < 20; n += 1) writeFileSync(join(data, 'small', `g${n}`), randomBytes(50 * KIBIBYTE))
  const next = { ...checkpoint(await capture()), seq: 2 }
  const error = await t.throwsAsync(pull(next.hash), { code: 'DISK_FULL' })
  t.regex(error?.message ?? '', /quota/)
  t.regex((error as { hint?: string }).hint ?? '', /quota/)
  await checkOld()
  await t.throwsAsync(receiver.store.apply(v.id, next), { code: 'DISK_FULL' })
  await checkOld()

  setQuota(100)
  await checkVerified()
  const { bytes, complete } = await pull(next.hash)
  t.true(complete)
  t.true(bytes < 16 * MEBIBYTE, `${bytes} bytes came, though some 9 MiB of 21 had come before`)
  await receiver.store.apply(v.id, next)
  t.like(await receiver.store.copy(v.id), { applying: false, checkpoint: { seq: 2 } })
  t.deepEqual(differences(data, tree), [])
})

test('a quota that is reached by small files alone is told as one', async (t) => {
  const { data, setQuota, capture, pull, checkOld, checkVerified } = await limitedPair(t)
  setQuota(10)
  for (let n = 0; n < 2000; n += 1) writeFileSync(join(data, 'small', `g${n}`), randomBytes(20 * KIBIBYTE))
  const { hash } = await capture()
  const error = await t.throwsAsync(pull(hash), { code: 'DISK_FULL' })
  t.regex(error?.message ?? '', /quota/)
  await checkOld()
  setQuota(200)
  await checkVerified()
  t.true((await pull(hash)).complete)
})
