import { randomBytes } from 'node:crypto'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { differences } from './comparer.ts'
import { fileSystem } from './file-systems.ts'
import { calm, captureCheckpoint, move, newVolume, send, storeHost } from './fixture.ts'
import { quotaOf } from './quota.ts'

test('promise 4: a quota reached during an apply leaves a copy that no host gets until it is raised', async (t) => {
  const disk = fileSystem(t, 'btrfs')
  const state = join(disk, 'state')
  const setQuota = quotaOf(disk, state)
  let lowering = false
  const [one, two] = [
    await storeHost(t),
    await storeHost(t, state, (step) => {
      if (lowering && step === 'removed') setQuota(1)
    }),
  ]
  const v = newVolume()
  await one.store.create(v)
  const data = one.data(v.id)
  writeFileSync(join(data, 'file'), randomBytes(5_000_000))
  mkdirSync(join(data, 'small'))
  for (let n = 0; n < 20; n += 1) writeFileSync(join(data, 'small', `f${n}`), randomBytes(20_000))
  await move(one.store, two.store, v)
  // What is removed comes first, what grows after it.
  rmSync(join(data, 'small', 'f3'))
  writeFileSync(join(data, 'file'), randomBytes(12_000_000))
  const next = captureCheckpoint(await one.store.capture(v.id, 'quiet', calm), 2)
  await send(one.store, two.store, v)
  lowering = true
  const error = await t.throwsAsync(two.store.apply(v.id, next), { code: 'DISK_FULL' })
  t.regex(error?.message ?? '', /quota/)
  t.like(await two.store.copy(v.id), { applying: true, checkpoint: { seq: 1 } })
  await t.throwsAsync(two.store.mount(v.id), { code: 'COPY_DAMAGED' })
  await t.throwsAsync(two.store.reader({ id: v.id, kind: 'last' }), { code: 'COPY_DAMAGED' })
  lowering = false
  await two.store.recover()
  t.true((await two.store.copy(v.id))?.applying, 'the quota is still used up')

  setQuota(100)
  await two.store.recover()
  t.like(await two.store.copy(v.id), { applying: false, checkpoint: { seq: 2 } })
  t.deepEqual(differences(data, two.data(v.id)), [])
  t.is((await two.store.verify(v.id, calm)).damagedCount, 0)
  await two.store[Symbol.asyncDispose]()
})
