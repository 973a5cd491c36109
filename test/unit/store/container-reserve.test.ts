import { randomBytes } from 'node:crypto'
import { readFileSync, rmSync, statfsSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { CONTAINERS_BYTES, CONTAINERS_SHARE, containersReserve } from '../../../agent/store/disk/free-space.ts'
import { SPOOL_GROWTH } from '../../../agent/store/spool/spool-writer.ts'
import { describeTree } from './comparer.ts'
import { fileSystem } from './file-systems.ts'
import { calm, newVolume, send, storeHost } from './fixture.ts'
import { Held } from './spool/held.ts'

const MIB = 1024 * 1024

/** Takes space until `leftBytes` are free. */
function leave(disk: string, leftBytes: number): string {
  const { bavail, bsize } = statfsSync(disk)
  const path = join(disk, 'foreign')
  writeFileSync(path, randomBytes(bavail * bsize - leftBytes))
  return path
}

test('neither a spool nor a copy that arrives uses the space that is kept for containers', async (t) => {
  const small = fileSystem(t, 'ext4', { mebibytes: 128 })
  const { blocks, bsize } = statfsSync(small)
  const reserve = containersReserve(blocks * bsize)
  t.is(reserve, Math.floor(blocks * bsize * CONTAINERS_SHARE))
  const [one, two] = [await storeHost(t), await storeHost(t, join(small, 'state'))]
  const [held, arriving] = [await Held.begin(two, newVolume()), newVolume()]
  writeFileSync(join(held.data, 'file'), randomBytes(3 * MIB))
  await one.store.create(arriving)
  writeFileSync(join(one.data(arriving.id), 'file'), randomBytes(3 * MIB))
  await one.store.capture(arriving.id, 'quiet', calm)

  const foreign = leave(small, reserve + 2 * MIB)
  const refused = { code: 'DISK_FULL', message: new RegExp(`${reserve} of them kept for containers`) }
  await t.throwsAsync(held.rounds(1), refused)
  await t.throwsAsync(send(one.store, two.store, arriving), refused)
  t.true(statfsSync(small).bavail * bsize > reserve)

  truncateSync(foreign, 1)
  t.true((await held.rounds(1)) >= 3 * MIB)
  t.true((await send(one.store, two.store, arriving)).complete)
  rmSync(foreign)
  t.true((await held.copyTo(one, await held.take())).complete)
  t.deepEqual(describeTree(one.data(held.volume.id)), describeTree(held.data))
  await two.store[Symbol.asyncDispose]()
})

test('docs/checkpoints.md has the limits of a spool', (t) => {
  const page = readFileSync(new URL('../../../docs/checkpoints.md', import.meta.url), 'utf8').replace(/\s+/g, ' ')
  t.is(SPOOL_GROWTH, 2)
  t.true(page.includes('`SPOOL_GROWTH` times the space of its contents, which is twice'))
  t.true(page.includes(`${CONTAINERS_SHARE * 100} % of the disk (\`CONTAINERS_SHARE\``))
  t.true(page.includes(`\`CONTAINERS_BYTES\` if that is less, which is ${CONTAINERS_BYTES / 1024 ** 3} GiB`))
})
