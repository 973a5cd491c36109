import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { differences } from '../store/comparer.ts'
import { fileSystem } from '../store/file-systems.ts'
import { fillDisk } from '../store/full-disk.ts'
import { checkpoint, KIBIBYTE, MEBIBYTE, writeNoise } from './kit.ts'
import { pair } from './pair.ts'

/** Slow enough that there is a middle: a copy of these trees takes about two seconds. */
const BANDWIDTH_BYTES_PER_SECOND = 15 * MEBIBYTE
const NUMBERS = /(\d+) bytes needed, (\d+) available/

/** The receiver has a file system of 64 MiB, and 10 MiB at its checkpoint. */
async function smallPair(t: ExecutionContext) {
  const disk = fileSystem(t, 'ext4', { mebibytes: 64 })
  const stateDir = join(disk, 'state')
  const sizes = { largeMebibytes: 10, smallKibibytes: 20 }
  const it = await pair(t, { stateDir, ...sizes, bandwidthBytesPerSecond: BANDWIDTH_BYTES_PER_SECOND })
  const { receiver, v, old } = it
  /** The copy is at its old checkpoint, and can be mounted and read. */
  const checkOld = async () => {
    t.like(await receiver.store.copy(v.id), { applying: false, checkpoint: { seq: 1 } })
    const mountpoint = await receiver.store.mount(v.id)
    t.deepEqual(differences(old, mountpoint), [])
    await receiver.store.unmount(v.id)
  }
  return { ...it, disk, stage: join(stateDir, 'volumes', v.id, 'stage'), checkOld }
}

test('promise 4: a copy that cannot fit is refused with needed and available bytes before a file is staged', async (t) => {
  const { receiver, v, data, stage, tree, capture, pull, checkOld } = await smallPair(t)
  const refused = async (neededAtLeast: number) => {
    const { hash } = await capture()
    const error = await t.throwsAsync(pull(hash), { code: 'DISK_FULL' })
    const [, needed = 0, available = 0] = (NUMBERS.exec(error?.message ?? '') ?? []).map(Number)
    t.true(needed > neededAtLeast && available > 0 && available < needed, error?.message)
    t.deepEqual(filesIn(join(stage, 'new')), [])
    t.deepEqual(filesIn(join(stage, 'blocks')), [])
    await checkOld()
  }
  writeNoise(join(data, 'too-large'), 60)
  await refused(60 * MEBIBYTE)
  rmSync(join(data, 'too-large'))
  mkdirSync(join(data, 'too-many'))
  for (let n = 0; n < 1000; n += 1) writeFileSync(join(data, 'too-many', `f${n}`), randomBytes(60 * KIBIBYTE))
  await refused(60_000 * KIBIBYTE)
  rmSync(join(data, 'too-many'), { recursive: true })

  writeNoise(join(data, 'fits'), 20)
  const fits = await capture()
  t.true((await pull(fits.hash)).complete)
  await receiver.store.apply(v.id, { ...checkpoint(fits), seq: 2 })
  t.deepEqual(differences(data, tree), [])
})

test('promise 4: a disk that fills up while a copy comes, and before it is applied, keeps the old checkpoint; the copy goes on when there is room', async (t) => {
  const { receiver, v, disk, data, tree, capture, pull, checkOld } = await smallPair(t)
  // Grows in place: that takes room once more when it is applied.
  writeNoise(join(data, 'large'), 18)
  writeNoise(join(data, 'new'), 8)
  for (let n = 0; n < 20; n += 1) writeFileSync(join(data, 'small', `g${n}`), randomBytes(40 * KIBIBYTE))
  const next = { ...checkpoint(await capture()), seq: 2 }
  const foreign = join(disk, 'foreign')
  const eat = (bytes: number) => {
    if (bytes > 5 * MEBIBYTE && !existsSync(foreign)) fillDisk(foreign)
  }
  const error = await t.throwsAsync(pull(next.hash, eat), { code: 'DISK_FULL' })
  t.regex(error?.message ?? '', /disk is full \(\d+ bytes available\) while volume data was written/)
  t.true(existsSync(foreign))
  await checkOld()
  await t.throwsAsync(receiver.store.apply(v.id, next), { code: 'STAGE_INCOMPLETE' })

  rmSync(foreign)
  const { bytes, complete } = await pull(next.hash)
  t.true(complete)
  t.true(bytes < 22 * MEBIBYTE, `${bytes} bytes came, though 5 MiB of 26 had come before`)
  fillDisk(foreign)
  await t.throwsAsync(receiver.store.apply(v.id, next), { code: 'DISK_FULL' })
  await checkOld()

  rmSync(foreign)
  await receiver.store.apply(v.id, next)
  t.like(await receiver.store.copy(v.id), { applying: false, checkpoint: { seq: 2 } })
  t.deepEqual(differences(data, tree), [])
})

function filesIn(path: string): string[] {
  if (!existsSync(path)) return []
  const entries = readdirSync(path, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => !entry.isDirectory()).map(({ name }) => name)
}
