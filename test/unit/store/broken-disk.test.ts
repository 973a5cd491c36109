import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { differences } from './comparer.ts'
import { calm, captureCheckpoint, move, newVolume, send, storeHost, temporaryDirectory } from './fixture.ts'
import { thinDisk } from './thin-disk.ts'

/** As the disk says it: ENOSPC is DISK_FULL, EIO is not. */
const LOST = { message: /took data while volume data was written, and could not keep it/ }

/** A sender, and a receiver on a thin disk that is at its checkpoint; `at` is called at each step of the receiver. */
async function pair(t: ExecutionContext, at: (step: string) => void = () => {}) {
  const disk = await thinDisk(t)
  const state = join(disk.path, 'state')
  const [one, two] = [await storeHost(t), await storeHost(t, state, (step) => at(step))]
  const v = newVolume()
  await one.store.create(v)
  const data = one.data(v.id)
  writeFileSync(join(data, 'large'), randomBytes(3_000_000))
  mkdirSync(join(data, 'small'))
  for (let n = 0; n < 20; n += 1) writeFileSync(join(data, 'small', `f${n}`), randomBytes(20_000))
  await move(one.store, two.store, v)
  const old = join(await temporaryDirectory(t), 'old')
  execFileSync('cp', ['-a', data, old])
  const edit = async () => {
    // Grows in place.
    writeFileSync(join(data, 'large'), randomBytes(9_000_000))
    for (let n = 0; n < 200; n += 1) writeFileSync(join(data, 'small', `g${n}`), randomBytes(20_000))
    return captureCheckpoint(await one.store.capture(v.id, 'quiet', calm), 2)
  }
  /** The copy is at its old checkpoint. */
  const checkOld = async () => {
    t.like(await two.store.copy(v.id), { applying: false, checkpoint: { seq: 1 } })
    t.deepEqual(differences(old, two.data(v.id)), [])
  }
  /** What is on the disk, not in any cache, is the newest checkpoint. */
  const checkOnDisk = async () => {
    t.like(await two.store.copy(v.id), { applying: false, checkpoint: { seq: 2 } })
    await two.store[Symbol.asyncDispose]()
    disk.remount()
    t.deepEqual(differences(data, two.data(v.id)), [])
    const again = await storeHost(t, state)
    t.is((await again.store.verify(v.id, calm)).damagedCount, 0)
    await again.store[Symbol.asyncDispose]()
  }
  return { disk, one, two, v, edit, checkOld, checkOnDisk }
}

test('data that a disk took and lost is never acknowledged, even if another program got the error first', async (t) => {
  let fail = () => {}
  const { disk, one, two, v, edit, checkOld, checkOnDisk } = await pair(t, (step) => {
    if (step === 'begun') fail()
  })
  const next = await edit()
  fail = disk.fail
  t.true((await send(one.store, two.store, v)).complete)
  fail = () => {}
  t.true(disk.othersSync(), 'the disk did fail')
  disk.mend()
  t.false(disk.othersSync(), 'nobody who asks only now is told')
  await t.throwsAsync(two.store.apply(v.id, next), LOST)
  await checkOld()

  // The page cache still shows what is lost: none of it counts.
  await t.throwsAsync(two.store.apply(v.id, next), { code: 'STAGE_INCOMPLETE' })
  await checkOld()
  t.true((await send(one.store, two.store, v)).complete)
  await two.store.apply(v.id, next)
  await checkOnDisk()
})

test('data that a disk loses during an apply leaves a copy that no host gets until it is on the disk', async (t) => {
  let fail = () => {}
  const { disk, one, two, v, edit, checkOnDisk } = await pair(t, (step) => {
    if (step === 'applying') fail()
  })
  const next = await edit()
  t.true((await send(one.store, two.store, v)).complete)
  fail = disk.fail
  await t.throwsAsync(two.store.apply(v.id, next), LOST)
  fail = () => {}
  disk.mend()
  t.like(await two.store.copy(v.id), { applying: true, checkpoint: { seq: 1 } })
  await t.throwsAsync(two.store.mount(v.id), { code: 'COPY_DAMAGED' })
  await t.throwsAsync(two.store.reader({ id: v.id, kind: 'last' }), { code: 'COPY_DAMAGED' })
  await two.store.recover()
  t.true((await two.store.copy(v.id))?.applying)
  t.true((await send(one.store, two.store, v)).complete)
  await two.store.apply(v.id, next)
  await checkOnDisk()
})
