import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import type { StoreOptions } from '../../../../agent/store/store.ts'
import { FILE_SYSTEMS, type FileSystemKind, fileSystem } from '../file-systems.ts'
import { calm, newVolume, storeHost } from '../fixture.ts'
import { Writer } from '../mmap/writer.ts'
import { buildObject } from '../tracker/fixture.ts'
import { Held } from './held.ts'

/** Together 540; fewest where syncing takes longest. */
const ROUNDS: Record<FileSystemKind, number> = { ext4: 220, xfs: 200, btrfs: 120 }
const MIXED_ROUNDS = 30
const TRACKED_ROUNDS = 120
const BLOCK_BYTES = 64 * 1024
/** Files of one block and of several: they are spooled in different ways. */
const SIZES_BYTES = [BLOCK_BYTES, BLOCK_BYTES, BLOCK_BYTES, 4 * BLOCK_BYTES, 8 * BLOCK_BYTES]
const WRITING_MAX_MS = 4

for (const kind of FILE_SYSTEMS) {
  test(`promise 5: no store through a mapping between two checkpoints is lost on ${kind}`, (t) =>
    everyCheckpointIsExact(t, kind, 'mmap', ROUNDS[kind]))
}

test('promise 5: no write of any other kind between two checkpoints is lost', (t) =>
  everyCheckpointIsExact(t, 'ext4', 'mixed', MIXED_ROUNDS))

for (const kind of ['ext4', 'xfs'] as const) {
  test(`promise 5: with the tracker no write of any kind between two checkpoints is lost on ${kind}`, (t) =>
    everyCheckpointIsExact(t, kind, 'mixed', TRACKED_ROUNDS, { trackerObject: buildObject() }))

  test(`promise 5: with the tracker no store through a mapping between two checkpoints is lost on ${kind}`, (t) =>
    everyCheckpointIsExact(t, kind, 'mmap', TRACKED_ROUNDS, { trackerObject: buildObject() }))
}

/**
 * In each round a program writes while the tree is spooled, is held until it is frozen, and runs on while it is
 * read.
 * A copy must get what the files held then.
 */
async function everyCheckpointIsExact(
  t: ExecutionContext,
  kind: FileSystemKind,
  mode: 'mmap' | 'mixed',
  rounds: number,
  more: Partial<StoreOptions> = {},
) {
  const root = fileSystem(t, kind)
  const [one, two] = [
    await storeHost(t, join(root, 'one'), undefined, { atOnceBytes: 0, ...more }),
    await storeHost(t, join(root, 'two')),
  ]
  const it = await Held.begin(one, newVolume())
  const files = makeFiles(it.data)
  t.true((await it.copyTo(two, await it.take())).complete)
  const writer = await Writer.start(t, mode, 1, files)
  for (let round = 0; round < rounds; round++) {
    await it.rounds(1 + (round % 2))
    await sleep(Math.random() * WRITING_MAX_MS)
    await writer.stop()
    let then: Buffer[] = []
    const taken = await it.take('quiet', () => {
      then = files.map((file) => readFileSync(file))
      writer.go()
    })
    if (!(await it.copyTo(two, taken)).complete) return t.fail(`round ${round}: something is not in the spool`)
    const copied = files.map((file) => readFileSync(join(two.data(it.volume.id), basename(file))))
    if (!copied.every((content, nth) => content.equals(then[nth] ?? Buffer.alloc(0)))) {
      return t.fail(`round ${round}: a write is lost`)
    }
  }
  const { scanned } = await one.store.spoolRound(it.volume.id, calm)
  t.is(scanned === null, more.trackerObject !== undefined, scanned ?? 'tracked')
}

test('files that never stand still are in checkpoints without a pause as they were read', async (t) => {
  const [one, two] = [await storeHost(t), await storeHost(t)]
  const it = await Held.begin(one, newVolume())
  const files = makeFiles(it.data)
  t.true((await it.copyTo(two, await it.take())).complete)
  await Writer.start(t, 'mixed', 1, files)
  for (let round = 0; round < MIXED_ROUNDS; round++) {
    await it.rounds(1)
    const taken = await it.take('live')
    t.true((await it.copyTo(two, taken)).complete)
    t.is((await two.store.verify(it.volume.id, calm)).damagedCount, 0)
  }
})

function makeFiles(directory: string): string[] {
  return SIZES_BYTES.map((bytes, n) => {
    const file = join(directory, `file${n}`)
    writeFileSync(file, randomBytes(bytes))
    return file
  })
}
