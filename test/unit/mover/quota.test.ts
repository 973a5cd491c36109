import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { openMover } from '../../../agent/mover/mover.ts'
import { differences } from '../store/comparer.ts'
import { fileSystem } from '../store/file-systems.ts'
import { quotaOf } from '../store/quota.ts'
import {
  ADDRESS,
  certificates,
  checkpoint,
  directory,
  MEBIBYTE,
  NO_ANSWERS,
  never,
  options,
  volume,
  writeNoise,
} from './kit.ts'

const KIBIBYTE = 1024
/** PostgreSQL's, in its image. */
const OWNER = 70

/** A sender, and a receiver whose state has a quota; both are at the first checkpoint, of 6 MiB. */
async function pair(t: ExecutionContext) {
  const base = await directory(t)
  const disk = fileSystem(t, 'btrfs')
  const stateDir = join(disk, 'state')
  const setQuota = quotaOf(disk, stateDir)
  const tls = await certificates(t)
  const sending = await options(t, tls)
  const sender = await openMover(sending)
  t.teardown(() => sender[Symbol.asyncDispose]())
  const receiver = await openMover({ ...(await options(t, tls)), stateDir, mountRoot: join(base, 'mounts') })
  t.teardown(() => receiver[Symbol.asyncDispose]())
  const v = volume()
  await sender.store.create(v)
  const choose = async () => ({ id: v.id, kind: 'last' }) as const
  const { port } = await sender.serve({ host: ADDRESS, port: 0, choose, answer: NO_ANSWERS })
  const data = join(sending.stateDir, 'volumes', v.id, 'data')
  writeNoise(join(data, 'large'), 5)
  mkdirSync(join(data, 'small'))
  for (let n = 0; n < 20; n += 1) writeFileSync(join(data, 'small', `f${n}`), randomBytes(50 * KIBIBYTE))
  const capture = () => {
    execFileSync('chown', ['-R', String(OWNER), data])
    return sender.store.capture(v.id, 'quiet', never())
  }
  const pull = (hash: string) => {
    const request = { volume: v.id, epoch: 1, want: { kind: 'checkpoint', hash } } as const
    return receiver.puller.pull({ address: ADDRESS, port }, request, v, never(), () => {})
  }
  const first = await capture()
  await pull(first.hash)
  await receiver.store.apply(v.id, checkpoint(first))
  const old = join(base, 'old')
  execFileSync('cp', ['-a', data, old])

  /** The copy is at its old checkpoint, byte by byte. */
  const checkOld = async () => {
    t.like(await receiver.store.copy(v.id), { applying: false, checkpoint: { seq: 1, hash: first.hash } })
    t.deepEqual(differences(old, join(stateDir, 'volumes', v.id, 'data')), [])
  }
  /** As the store itself sees it; that needs some room. */
  const checkVerified = async () => {
    t.is((await receiver.store.verify(v.id, never())).damagedCount, 0)
  }
  return {
    checkVerified,
    receiver,
    v,
    data,
    tree: join(stateDir, 'volumes', v.id, 'data'),
    setQuota,
    capture,
    pull,
    checkOld,
  }
}

test('a quota that is reached while a copy comes keeps the old checkpoint; when it is raised the copy goes on', async (t) => {
  const { receiver, v, data, tree, setQuota, capture, pull, checkOld, checkVerified } = await pair(t)
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
  const { data, setQuota, capture, pull, checkOld, checkVerified } = await pair(t)
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
