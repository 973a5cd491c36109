import { randomBytes } from 'node:crypto'
import {
  closeSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { hashOfList } from '../../../../agent/store/snapshot/block-lists.ts'
import { loadSnapshot } from '../../../../agent/store/snapshot/saved-snapshot.ts'
import { openBlockPool } from '../../../../agent/store/workers/block-pool.ts'
import { tagKey } from '../../../../agent/store/workers/tag-key.ts'
import { move, newVolume, type StoreHost, storeHost, temporaryDirectory } from '../fixture.ts'
import { type CapturedDirectory, captured } from './captured.ts'

const BLOCK = 16 * 1024
const MIB = 1024 * 1024
/** Longer than a clock tick of any kernel. */
const TICKS_MS = 30
const RUNS = 12

/** Captures and says how many blocks of large files were hashed. */
async function countedCapture(tree: CapturedDirectory, kind: 'quiet' | 'live' = 'quiet') {
  let hashedBlocks = 0
  const pool = tree.poolWith({
    rehashBlocks: async (...task) => {
      const found = await tree.pool.rehashBlocks(...task)
      hashedBlocks += found.hashedBlocks
      return found
    },
  })
  const { filesRead, bytesRead, manifest } = await tree.capture(kind, { pool })
  return { filesRead, bytesRead, manifest, hashedBlocks }
}

/** The hash of a tree that is read as if nothing were known of it. */
async function readAnew(tree: CapturedDirectory): Promise<string> {
  return (await tree.look(true, null)).manifest.hash
}

function overwrite(path: string, at: number, data: Buffer): void {
  const fd = openSync(path, 'r+')
  writeSync(fd, data, 0, data.length, at)
  closeSync(fd)
}

test('a page that changed in a large file costs one block to hash, over reboots and live looks too', async (t) => {
  const tree = await captured(t)
  const path = join(tree.data, 'db')
  writeFileSync(path, randomBytes(40 * MIB + 5))
  writeFileSync(join(tree.data, 'other'), randomBytes(6 * BLOCK))
  await sleep(TICKS_MS)
  const first = await countedCapture(tree)
  t.is(first.hashedBlocks, 2561 + 6)
  for (const [kind, at] of [
    ['quiet', 17 * MIB],
    ['live', 30 * MIB],
    ['quiet', 40 * MIB],
  ] as const) {
    overwrite(path, at, randomBytes(5))
    await sleep(TICKS_MS)
    const { filesRead, bytesRead, hashedBlocks, manifest } = await countedCapture(tree, kind)
    t.deepEqual({ filesRead, bytesRead, hashedBlocks }, { filesRead: 1, bytesRead: 40 * MIB + 5, hashedBlocks: 1 })
    t.is(manifest.hash, await readAnew(tree))
  }
  const seen = join(tree.directory, 'last.seen')
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
  writeFileSync(
    seen,
    Buffer.from(readFileSync(seen, 'latin1').replace(boot, boot.replaceAll(/[0-9a-f]/g, '0')), 'latin1'),
  )
  overwrite(path, 0, randomBytes(5))
  await sleep(TICKS_MS)
  const { filesRead, hashedBlocks, manifest } = await countedCapture(tree)
  t.deepEqual({ filesRead, hashedBlocks }, { filesRead: 2, hashedBlocks: 1 })
  t.is(manifest.hash, await readAnew(tree))
})

test('a large file that is replaced, grows or shrinks keeps the hashes of what stayed', async (t) => {
  const tree = await captured(t)
  const path = join(tree.data, 'db')
  let content = randomBytes(10 * BLOCK + 100)
  writeFileSync(path, content)
  await tree.capture('quiet')
  const expect = async (hashedBlocks: number) => {
    const found = await countedCapture(tree)
    t.is(found.hashedBlocks, hashedBlocks)
    t.is(found.manifest.hash, await readAnew(tree))
  }
  content = Buffer.concat([content, randomBytes(3 * BLOCK)])
  writeFileSync(join(tree.directory, 'new'), content)
  renameSync(join(tree.directory, 'new'), path)
  await expect(4)
  truncateSync(path, 5 * BLOCK + 1)
  await expect(1)
  truncateSync(path, 20 * BLOCK)
  await expect(1)
})

test('a lists file that is damaged anywhere does not change what a capture finds', async (t) => {
  const tree = await captured(t)
  const paths = ['a', 'b', 'c'].map((name) => join(tree.data, name))
  for (const path of paths) writeFileSync(path, randomBytes(6 * BLOCK))
  const lists = join(tree.directory, 'last.lists')
  await tree.capture('quiet')
  const damages = fc.array(fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true }), length: fc.nat(200) }), {
    maxLength: 3,
  })
  const how = fc.record({
    damages,
    cut: fc.boolean(),
    turned: fc.boolean(),
    edited: fc.array(fc.nat(6 * BLOCK - 5), { maxLength: 3 }),
  })
  await fc.assert(
    fc.asyncProperty(how, async ({ damages, cut, turned, edited }) => {
      let bytes = readFileSync(lists)
      for (const { at, length } of damages) {
        const start = Math.floor(at * bytes.length)
        bytes.fill(randomBytes(1), start, Math.min(start + length, bytes.length))
      }
      // The parts of one file where those of another should be.
      if (turned) bytes = Buffer.concat([bytes.subarray(6 * 48), bytes.subarray(0, 6 * 48)])
      if (cut) bytes = bytes.subarray(0, bytes.length - 6 * 48 - 7)
      writeFileSync(lists, bytes)
      for (const [nth, at] of edited.entries()) overwrite(paths[nth] ?? '', at, randomBytes(5))
      await sleep(TICKS_MS)
      t.is((await countedCapture(tree)).manifest.hash, await readAnew(tree))
      // A file that needed no reading keeps its damaged list; whoever asks for it gets the right one all the same.
      await using reader = await tree.reader()
      const kept = await loadSnapshot(tree.directory, 'last')
      for (const index of [1, 2, 3]) {
        const list = Buffer.concat(await Array.fromAsync(reader.hashes(index)))
        t.deepEqual(hashOfList(list), kept?.manifest.file(index).hash)
      }
    }),
    { numRuns: RUNS },
  )
})

/** How many blocks of a host's large file would have to be hashed if it were read now. */
async function unprovenBlocks(t: ExecutionContext, at: StoreHost, id: string, name: string): Promise<number> {
  const kept = await loadSnapshot(join(at.stateDir, 'volumes', id), 'last')
  const fd = openSync(join(at.data(id), name), 'r')
  t.teardown(() => closeSync(fd))
  const { size } = statSync(join(at.data(id), name))
  await using known = (await kept?.lists.knownBlocks(kept.manifest.find(name), size)) ?? null
  await using pool = openBlockPool({ threads: 1, tagKey: await tagKey(at.stateDir) })
  const blocks = Math.ceil(size / BLOCK)
  return (await pool.rehashBlocks(fd, size, 0, blocks, (await known?.range(0, blocks)) ?? null)).hashedBlocks
}

test('after an apply the blocks that stayed are known still, and those that came are not', async (t) => {
  const [one, two] = [await storeHost(t), await storeHost(t)]
  const v = newVolume()
  await one.store.create(v)
  for (const name of ['db', 'same']) writeFileSync(join(one.data(v.id), name), randomBytes(50 * BLOCK))
  await move(one.store, two.store, v)
  t.is(await unprovenBlocks(t, one, v.id, 'db'), 0)
  t.is(await unprovenBlocks(t, two, v.id, 'db'), 50)
  overwrite(join(two.data(v.id), 'db'), 7 * BLOCK, randomBytes(100))
  await move(two.store, one.store, v, 2)
  t.is(await unprovenBlocks(t, two, v.id, 'db'), 0)
  t.is(await unprovenBlocks(t, one, v.id, 'db'), 1)
  t.is(await unprovenBlocks(t, one, v.id, 'same'), 0)
})

test('the key of the tags is made once, for root alone; one that is no key is replaced', async (t) => {
  const state = await temporaryDirectory(t)
  const key = await tagKey(state)
  const path = join(state, 'tag.key')
  t.is(key.length, 16)
  t.is(statSync(path).mode & 0o777, 0o600)
  t.deepEqual(await tagKey(state), key)
  t.notDeepEqual(await tagKey(await temporaryDirectory(t)), key)
  writeFileSync(path, 'torn')
  const second = await tagKey(state)
  t.is(second.length, 16)
  t.deepEqual(await tagKey(state), second)
})
