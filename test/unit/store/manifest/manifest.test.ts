import test from 'ava'
import fc from 'fast-check'
import { blockCountOf } from '../../../../agent/store/blocks/block-size.ts'
import { ManifestBuilder } from '../../../../agent/store/manifest/builder.ts'
import type { Manifest } from '../../../../agent/store/manifest/manifest.ts'
import { decodeManifest } from '../../../../agent/store/manifest/parser.ts'
import { decoded, dir, file, manifestWith, PLAIN } from './bodies.ts'
import { build, encode, type Made, tree } from './trees.ts'

const MAGIC_BYTES = 'wherry manifest 2\n'.length

async function* inPieces(data: Buffer, sizeBytes: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < data.length; at += sizeBytes) yield data.subarray(at, at + sizeBytes)
}

test('a manifest comes back as it went, whatever the names, kinds, attributes and pieces it arrives in', async (t) => {
  await fc.assert(
    fc.asyncProperty(tree, fc.integer({ min: 1, max: 5000 }), async (entries, sizeBytes) => {
      const made = build(entries)
      const back = await decodeManifest(inPieces(encode(made), sizeBytes))
      t.is(back.count, entries.length)
      t.is(back.files, entries.length - 1)
      t.is(back.hash, made.hash)
      t.is(back.bytes, made.bytes)
      for (const [index, { path, body }] of entries.entries()) {
        t.deepEqual(back.entry(index) as unknown, { path, ...body })
        t.is(back.kind(index), body.kind)
        t.is(back.path(index), path)
        t.is(back.find(path), index)
        const listed = body.kind === 'file' && body.sizeBytes > 65_536
        t.is(back.listBytes(index), listed ? 32 * blockCountOf(body.sizeBytes) : 0)
      }
    }),
    { numRuns: 200 },
  )
})

test('equal trees have equal bytes, and what is copied or filled in later makes no difference', (t) => {
  fc.assert(
    fc.property(tree, fc.nat(), (entries, cut) => {
      const made = build(entries)
      const copied = new ManifestBuilder()
      copied.copyFirst(made, cut % (made.count + 1))
      const unread: [number, Buffer][] = []
      for (let index = copied.count; index < made.count; index++) {
        const body = made.body(index)
        if (body.kind === 'link') copied.add(made.depth(index), made.name(index), body)
        else if (body.kind === 'file') {
          copied.addUnread(made.depth(index), made.name(index), { ...body, hash: Buffer.alloc(32) })
          unread.unshift([index, body.hash])
        } else t.is(copied.copy(made, index), index)
      }
      if (unread.length > 0) t.throws(() => copied.finish(), { instanceOf: RangeError })
      for (const [index, hash] of unread) copied.setHash(index, hash)
      const same = copied.finish()
      t.true(encode(same).equals(encode(made)))
      t.is(same.hash, made.hash)
      t.is(same.bytes, made.bytes)
    }),
    { numRuns: 200 },
  )
})

test('random changes of a manifest are refused or give another sound one; equal hashes mean equal bytes', async (t) => {
  const change = fc.record({
    at: fc.nat(),
    value: fc.nat(255),
    how: fc.constantFrom('change', 'cut', 'insert', 'swap'),
  })
  let sound = 0
  await fc.assert(
    fc.asyncProperty(tree, fc.array(change, { minLength: 1, maxLength: 3 }), async (entries, changes) => {
      const made = build(entries)
      const good = encode(made)
      const bad = changes.reduce(changed, good)
      if (bad.equals(good)) return
      const back = await decoded(bad)
      if (back === null) return
      sound++
      t.not(back.hash, made.hash)
      // Sound means that there is one form: built again from what it says, it has the same bytes.
      t.true(encode(build(entriesOf(back))).equals(bad))
    }),
    { numRuns: 3000 },
  )
  t.true(sound > 0, 'a changed mode or content hash is still a manifest')
})

function changed(data: Buffer, { at, value, how }: { at: number; value: number; how: string }): Buffer {
  const place = at % data.length
  const [before, after] = [data.subarray(0, place), data.subarray(place + 1)]
  if (how === 'cut') return Buffer.concat([before, after])
  if (how === 'insert') return Buffer.concat([before, Buffer.from([value]), data.subarray(place)])
  if (how === 'swap') return Buffer.concat([data.subarray(place), before])
  return Buffer.concat([before, Buffer.from([value]), after])
}

function entriesOf(manifest: Manifest): Made[] {
  return Array.from({ length: manifest.count }, (_, index) => ({
    path: manifest.path(index),
    body: manifest.body(index),
  }))
}

test('arbitrary bytes are refused, with or without the right beginning', async (t) => {
  const magic = encode(manifestWith()).subarray(0, MAGIC_BYTES)
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 2000 }), fc.boolean(), async (bytes, begun) => {
      const back = await decoded(Buffer.concat([begun ? magic : Buffer.alloc(0), bytes]))
      t.is(back, null)
    }),
    { numRuns: 1000 },
  )
})

const SAMPLE = manifestWith(
  ['a', dir({ xattrs: [['user.a', Buffer.from('value')]] })],
  ['a/file', file({ sizeBytes: 100_000 })],
  ['a/link', { kind: 'link', to: 2 }],
  ['b', { kind: 'symlink', ...PLAIN, target: '../elsewhere' }],
  ['c', { kind: 'char', ...PLAIN, major: 1, minor: 3 }],
)

test('a manifest that is cut off anywhere is refused', async (t) => {
  const whole = encode(SAMPLE)
  t.not(await decoded(whole), null)
  for (let length = 0; length < whole.length; length++)
    t.is(await decoded(whole.subarray(0, length)), null, `${length}`)
})
