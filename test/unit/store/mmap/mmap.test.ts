import { createHash, randomBytes } from 'node:crypto'
import { lstatSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { differences } from '../comparer.ts'
import { FILE_SYSTEMS, type FileSystemKind, fileSystem } from '../file-systems.ts'
import { calm, move, newVolume, type StoreHost, storeHost } from '../fixture.ts'
import { Writer, type WriterMode } from './writer.ts'

/** Together 4,100; fewest where syncing takes longest. About 80 s, two cores shared with another test file. */
const MMAP_ROUNDS: Record<FileSystemKind, number> = { ext4: 1_550, xfs: 1_550, btrfs: 1_000 }
const MIXED_ROUNDS = 120
const MOVE_EVERY_ROUNDS = 100
/** What ctime alone must lose once: it takes some ten rounds. */
const NAIVE_ROUNDS_MAX = 2_000
const SMALL_BYTES = 64 * 1024
const BLOCK_BYTES = 16 * 1024
/** Files of one block and of several: they are read in different ways. */
const SIZES_BYTES = [SMALL_BYTES, SMALL_BYTES, SMALL_BYTES, 4 * SMALL_BYTES, 8 * SMALL_BYTES]
const WRITING_MAX_MS = 4

for (const kind of FILE_SYSTEMS) {
  test(`no store through a mapping is lost on ${kind}`, (t) => noWriteIsLost(t, kind, 'mmap', MMAP_ROUNDS[kind]))
  test(`no write of any other kind is lost on ${kind}`, (t) => noWriteIsLost(t, kind, 'mixed', MIXED_ROUNDS))
}

/**
 * In each round a program writes while live captures run, is held, and a quiet capture must know what the files
 * hold.
 */
async function noWriteIsLost(t: ExecutionContext, kind: FileSystemKind, mode: WriterMode, rounds: number) {
  const root = fileSystem(t, kind)
  const [one, two] = [await storeHost(t, join(root, 'one')), await storeHost(t, join(root, 'two'))]
  const v = newVolume()
  await one.store.create(v)
  const files = makeFiles(one.data(v.id))
  const writer = await Writer.start(t, mode, 1, files)
  for (let round = 0; round < rounds; round += 1) {
    await one.store.capture(v.id, 'live', calm)
    await sleep(Math.random() * WRITING_MAX_MS)
    await writer.stop()
    const { hash } = await one.store.capture(v.id, 'quiet', calm)
    const manifest = await manifestOf(one, v.id, hash)
    for (const file of files) {
      if (!manifest.includes(fileHash(readFileSync(file)))) return t.fail(`round ${round}: a write to ${file} is lost`)
    }
    if (round % MOVE_EVERY_ROUNDS === 0) {
      await move(one.store, two.store, v, round)
      t.deepEqual(differences(one.data(v.id), two.data(v.id), { extents: 'bounded' }), [])
    }
    writer.go()
  }
  t.pass()
}

test('a look at ctime alone loses stores in the same rounds', async (t) => {
  const files = makeFiles(fileSystem(t, 'ext4'))
  const known = new Map<string, { ctimeNs: bigint; hash: Buffer }>()
  const look = () => {
    for (const file of files) {
      const { ctimeNs } = lstatSync(file, { bigint: true })
      if (known.get(file)?.ctimeNs !== ctimeNs) known.set(file, { ctimeNs, hash: fileHash(readFileSync(file)) })
    }
  }
  const writer = await Writer.start(t, 'mmap', 1, files)
  for (let round = 0; round < NAIVE_ROUNDS_MAX; round += 1) {
    look()
    await sleep(Math.random() * WRITING_MAX_MS)
    await writer.stop()
    look()
    if (files.some((file) => !known.get(file)?.hash.equals(fileHash(readFileSync(file))))) return t.pass()
    writer.go()
  }
  t.fail('these rounds would not notice a lost store')
})

function makeFiles(directory: string): string[] {
  return SIZES_BYTES.map((bytes, n) => {
    const file = join(directory, `file${n}`)
    writeFileSync(file, randomBytes(bytes))
    return file
  })
}

async function manifestOf(from: StoreHost, id: string, hash: string): Promise<Buffer> {
  await using reader = await from.store.reader({ id: id, kind: 'last' })
  if (reader.hash !== hash) throw new Error('the manifest is not that of the capture')
  const chunks: Buffer[] = []
  for await (const chunk of reader.manifest()) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/**
 * docs/architecture.md, blocks: a file of one block has the hash of its content, a larger one that of its blocks'
 * hashes.
 */
function fileHash(content: Buffer): Buffer {
  const sha256 = (data: Buffer) => createHash('sha256').update(data).digest()
  if (content.length <= SMALL_BYTES) return sha256(content)
  const blocks: Buffer[] = []
  for (let at = 0; at < content.length; at += BLOCK_BYTES) blocks.push(sha256(content.subarray(at, at + BLOCK_BYTES)))
  return sha256(Buffer.concat(blocks))
}
