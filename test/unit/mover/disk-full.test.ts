import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { openMover } from '../../../agent/mover/mover.ts'
import { differences } from '../store/comparer.ts'
import { fill } from '../store/full-disk.ts'
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

/** Slow enough that there is a middle: a copy of these trees takes about two seconds. */
const BANDWIDTH_BYTES_PER_SECOND = 15 * MEBIBYTE
const KIBIBYTE = 1024
const NUMBERS = /(\d+) bytes needed, (\d+) available/

/** A sender, and a receiver on a file system of 64 MiB that is at its checkpoint: 10 MiB in one large file and some small ones. */
async function pair(t: ExecutionContext) {
  const base = await directory(t)
  const make = 'truncate -s 64M disk && mkfs.ext4 -q disk && mkdir mnt && mount -o loop disk mnt'
  execFileSync('sh', ['-c', make], { cwd: base })
  const disk = join(base, 'mnt')
  t.teardown(() => execFileSync('umount', ['--recursive', disk]))
  const tls = await certificates(t)
  const slow = { ...(await options(t, tls)), bandwidthBytesPerSecond: BANDWIDTH_BYTES_PER_SECOND }
  const sender = await openMover(slow)
  t.teardown(() => sender[Symbol.asyncDispose]())
  const mountRoot = join(base, 'mounts')
  const given = { ...(await options(t, tls)), stateDir: join(disk, 'state'), mountRoot }
  const receiver = await openMover(given)
  t.teardown(() => receiver[Symbol.asyncDispose]())
  const v = volume()
  const [from, to] = [slow, given].map(({ stateDir }) => join(stateDir, 'volumes', v.id)) as [string, string]
  await sender.store.create(v)
  const choose = async () => ({ id: v.id, kind: 'last' }) as const
  const { port } = await sender.serve({ host: ADDRESS, port: 0, choose, answer: NO_ANSWERS })
  const data = join(from, 'data')
  writeNoise(join(data, 'large'), 10)
  mkdirSync(join(data, 'small'))
  for (let n = 0; n < 20; n += 1) writeFileSync(join(data, 'small', `f${n}`), randomBytes(20 * KIBIBYTE))

  const capture = () => sender.store.capture(v.id, 'quiet', never())
  const pull = (hash: string, onBytes: (bytes: number) => void = () => {}) => {
    const request = { volume: v.id, epoch: 1, want: { kind: 'checkpoint', hash } } as const
    return receiver.puller.pull({ address: ADDRESS, port }, request, v, never(), ({ bytesDone }) => onBytes(bytesDone))
  }
  const first = await capture()
  await pull(first.hash)
  await receiver.store.apply(v.id, checkpoint(first))
  const old = join(base, 'old')
  execFileSync('cp', ['-a', data, old])

  /** The copy is at its old checkpoint, and can be mounted and read. */
  const checkOld = async () => {
    t.like(await receiver.store.copy(v.id), { applying: false, checkpoint: { seq: 1 } })
    const mountpoint = await receiver.store.mount(v.id)
    t.deepEqual(differences(old, mountpoint), [])
    await receiver.store.unmount(v.id)
  }
  return { receiver, v, disk, data, stage: join(to, 'stage'), tree: join(to, 'data'), capture, pull, checkOld }
}

test('promise 4: a copy that cannot fit is refused with needed and available bytes before a file is staged', async (t) => {
  const { receiver, v, data, stage, tree, capture, pull, checkOld } = await pair(t)
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
  const { receiver, v, disk, data, tree, capture, pull, checkOld } = await pair(t)
  // Grows in place: that takes room once more when it is applied.
  writeNoise(join(data, 'large'), 18)
  writeNoise(join(data, 'new'), 10)
  for (let n = 0; n < 20; n += 1) writeFileSync(join(data, 'small', `g${n}`), randomBytes(40 * KIBIBYTE))
  const next = { ...checkpoint(await capture()), seq: 2 }
  const foreign = join(disk, 'foreign')
  const eat = (bytes: number) => {
    if (bytes > 5 * MEBIBYTE && !existsSync(foreign)) fill(foreign)
  }
  const error = await t.throwsAsync(pull(next.hash, eat), { code: 'DISK_FULL' })
  t.regex(error?.message ?? '', /disk is full \(\d+ bytes available\) while volume data was written/)
  t.true(existsSync(foreign))
  await checkOld()
  await t.throwsAsync(receiver.store.apply(v.id, next), { code: 'STAGE_INCOMPLETE' })

  rmSync(foreign)
  const { bytes, complete } = await pull(next.hash)
  t.true(complete)
  t.true(bytes < 24 * MEBIBYTE, `${bytes} bytes came, though 5 MiB of 28 had come before`)
  fill(foreign)
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
