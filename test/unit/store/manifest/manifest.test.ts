import test from 'ava'
import fc from 'fast-check'
import { WherryError } from '../../../../agent/errors.ts'
import { blockCountOf } from '../../../../agent/store/blocks.ts'
import { ManifestBuilder } from '../../../../agent/store/manifest/builder.ts'
import type { Attributes } from '../../../../agent/store/manifest/entry.ts'
import { joinManifests } from '../../../../agent/store/manifest/join.ts'
import type { Manifest } from '../../../../agent/store/manifest/manifest.ts'
import { decodeManifest, parseManifest } from '../../../../agent/store/manifest/parser.ts'
import { planChanges } from '../../../../agent/store/manifest/plan.ts'
import type { Body } from '../../../../agent/store/manifest/record-codec.ts'
import { build, comesBefore, encode, type Made, tree } from './trees.ts'

const PLAIN: Attributes = { mode: 0o755, uid: 1, gid: 2, mtimeNs: 5n, flags: 0, xattrs: [] }
const HASH = Buffer.alloc(32, 0xab)
const MAGIC_BYTES = 'wherry manifest 2\n'.length
const TRAILER_BYTES = 5

const dir = (more: object = {}): Body => ({ kind: 'dir', ...PLAIN, ...more })
const file = (more: object = {}): Body => ({ kind: 'file', ...PLAIN, sizeBytes: 1, hash: HASH, ...more })

function manifestOf(...entries: readonly (readonly [string, Body])[]): Manifest {
  return build([{ path: '', body: dir() }, ...entries.map(([path, body]) => ({ path, body }))])
}

async function* inPieces(data: Buffer, sizeBytes: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < data.length; at += sizeBytes) yield data.subarray(at, at + sizeBytes)
}

/** Decodes: null when it is refused as it should be. Any other error fails the test. */
async function decoded(data: Buffer): Promise<Manifest | null> {
  try {
    return await parseManifest(data)
  } catch (error) {
    if (error instanceof WherryError && error.code === 'MANIFEST_INVALID') return null
    throw error
  }
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

test('random changes of a manifest are refused, or lead to another that is sound; only the same bytes have the same hash', async (t) => {
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
  const magic = encode(manifestOf()).subarray(0, MAGIC_BYTES)
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 2000 }), fc.boolean(), async (bytes, begun) => {
      const back = await decoded(Buffer.concat([begun ? magic : Buffer.alloc(0), bytes]))
      t.is(back, null)
    }),
    { numRuns: 1000 },
  )
})

const SAMPLE = manifestOf(
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

/** A record as an enemy would write it: without any of the checks. */
function record(kind: number, depth: number, name: string, ...rest: (Buffer | number[])[]): Buffer {
  const head = Buffer.from([kind, depth & 255, depth >> 8, name.length])
  return Buffer.concat([head, Buffer.from(name, 'latin1'), ...rest.map((part) => Buffer.from(part))])
}

interface Raw {
  readonly mode?: number
  readonly seconds?: number
  readonly rest?: number
  readonly flags?: number
  readonly xattrs?: readonly (readonly [string, number, Buffer])[]
}

function raw({ mode = 0o755, seconds = 0, rest = 0, flags = 0, xattrs = [] }: Raw = {}): Buffer {
  const head = Buffer.alloc(28)
  head.writeUInt16LE(mode, 0)
  head.writeDoubleLE(seconds, 10)
  head.writeUInt32LE(rest, 18)
  head.writeUInt32LE(flags, 22)
  head.writeUInt16LE(xattrs.length, 26)
  const parts = xattrs.flatMap(([name, length, value]) => {
    const size = Buffer.alloc(4)
    size.writeUInt32LE(length)
    return [Buffer.from([name.length]), Buffer.from(name, 'latin1'), size, value]
  })
  return Buffer.concat([head, ...parts])
}

const uint32 = (value: number) => {
  const buffer = Buffer.alloc(4)
  buffer.writeUInt32LE(value)
  return buffer
}
const DIR = 1
const FILE = 2
const SYMLINK = 3
const FIFO = 4
const CHAR = 6
const LINK = 8
const ROOT = record(DIR, 0, '', raw())
const content = Buffer.concat([uint32(1), uint32(0), HASH])
const plain = (name: string, depth = 1) => record(FILE, depth, name, raw(), content)
const size = (low: number, high: number) => Buffer.concat([uint32(low), uint32(high), HASH])
const one = Buffer.from('1')

function framed(records: readonly Buffer[], count = records.length): Buffer {
  const trailer = Buffer.alloc(TRAILER_BYTES)
  trailer.writeUInt32LE(count, 1)
  return Buffer.concat([Buffer.from('wherry manifest 2\n'), ...records, trailer])
}

const HOSTILE: Record<string, readonly Buffer[]> = {
  'no root': [plain('a')],
  'nothing at all': [],
  'a root that is a file': [record(FILE, 0, '', raw(), content)],
  'a root with a name': [record(DIR, 0, 'root', raw())],
  'two roots': [ROOT, ROOT],
  'a name with a slash': [ROOT, plain('../../etc/passwd')],
  'an absolute name': [ROOT, plain('/etc')],
  'a name with NUL': [ROOT, plain('a\0b')],
  'the name .': [ROOT, plain('.')],
  'the name ..': [ROOT, plain('..')],
  'an empty name': [ROOT, plain('')],
  'an orphan': [ROOT, plain('a', 2)],
  'a file as parent': [ROOT, plain('a'), plain('b', 2)],
  'a symlink as parent': [ROOT, record(SYMLINK, 1, 'a', raw(), [1, 0], Buffer.from('/')), plain('b', 2)],
  'too deep': [ROOT, ...Array.from({ length: 257 }, (_, nth) => record(DIR, nth + 1, 'd', raw()))],
  'a depth beyond all': [ROOT, plain('a', 65_535)],
  'a doubled name': [ROOT, plain('a'), plain('a')],
  'wrong order': [ROOT, plain('b'), plain('a')],
  'a directory that comes back': [ROOT, record(DIR, 1, 'a', raw()), plain('b'), record(DIR, 1, 'a', raw())],
  'a link to itself': [ROOT, record(LINK, 1, 'a', uint32(1))],
  'a link forward': [ROOT, record(LINK, 1, 'a', uint32(2)), plain('b')],
  'a link to nothing': [ROOT, plain('a'), record(LINK, 1, 'b', uint32(4_000_000_000))],
  'a link to a directory': [ROOT, record(LINK, 1, 'a', uint32(0))],
  'a link to a link': [ROOT, plain('a'), record(LINK, 1, 'b', uint32(1)), record(LINK, 1, 'c', uint32(2))],
  'a size beyond integers': [ROOT, record(FILE, 1, 'a', raw(), size(0, 2 ** 21))],
  'sizes that sum beyond integers': [
    ROOT,
    ...['a', 'b'].map((name) => record(FILE, 1, name, raw(), size(2 ** 32 - 1, 2 ** 21 - 1))),
  ],
  'a mode with type bits': [ROOT, record(FILE, 1, 'a', raw({ mode: 0o100644 }), content)],
  'a time that is no number': [ROOT, record(FIFO, 1, 'a', raw({ seconds: Number.NaN }))],
  'a time without end': [ROOT, record(FIFO, 1, 'a', raw({ seconds: Number.POSITIVE_INFINITY }))],
  'a time between seconds': [ROOT, record(FIFO, 1, 'a', raw({ seconds: 0.5 }))],
  'another zero': [ROOT, record(FIFO, 1, 'a', raw({ seconds: -0 }))],
  'nanoseconds of more than a second': [ROOT, record(FIFO, 1, 'a', raw({ rest: 1_000_000_000 }))],
  'flags that are not ours': [ROOT, record(FILE, 1, 'a', raw({ flags: 1 }), content)],
  'flags of a pipe': [ROOT, record(FIFO, 1, 'a', raw({ flags: 0x10 }))],
  'an empty symlink': [ROOT, record(SYMLINK, 1, 'a', raw(), [0, 0])],
  'a symlink target too long': [ROOT, record(SYMLINK, 1, 'a', raw(), [0, 16], Buffer.alloc(4096, 'x'))],
  'a symlink target with NUL': [ROOT, record(SYMLINK, 1, 'a', raw(), [1, 0, 0])],
  'a symlink target that lies about its length': [ROOT, record(SYMLINK, 1, 'a', raw(), [255, 15], one)],
  'a device beyond numbers': [ROOT, record(CHAR, 1, 'a', raw(), uint32(0x1000), uint32(0))],
  'an unknown kind': [ROOT, record(9, 1, 'a', raw())],
  'an attribute without name': [ROOT, record(FIFO, 1, 'a', raw({ xattrs: [['', 0, Buffer.alloc(0)]] }))],
  'an attribute with NUL in its name': [ROOT, record(FIFO, 1, 'a', raw({ xattrs: [['a\0', 1, one]] }))],
  'attributes out of order': [ROOT, record(FIFO, 1, 'a', raw({ xattrs: ['b', 'a'].map((key) => [key, 1, one]) }))],
  'doubled attributes': [ROOT, record(FIFO, 1, 'a', raw({ xattrs: ['a', 'a'].map((key) => [key, 1, one]) }))],
  'an attribute that lies about its length': [ROOT, record(FIFO, 1, 'a', raw({ xattrs: [['a', 65_536, one]] }))],
  'an attribute longer than any': [ROOT, record(FIFO, 1, 'a', raw({ xattrs: [['a', 65_537, Buffer.alloc(65_537)]] }))],
}

test('every known trick is refused with MANIFEST_INVALID', async (t) => {
  for (const [trick, records] of Object.entries(HOSTILE)) t.is(await decoded(framed(records)), null, trick)
  // The same frame without a trick is good, so each refusal above had its own reason.
  const good = [
    ROOT,
    record(DIR, 1, 'a', raw({ xattrs: [['user.a', 1, one]] })),
    plain('c', 2),
    record(LINK, 1, 'b', uint32(2)),
    record(SYMLINK, 1, 'c', raw(), [1, 0], Buffer.from('/')),
    record(CHAR, 1, 'd', raw(), uint32(1), uint32(3)),
    record(FIFO, 1, 'e', raw({ seconds: -1, rest: 999_999_999 })),
    record(FILE, 1, 'f', raw({ flags: 0x10 }), size(2 ** 32 - 1, 2 ** 21 - 2)),
  ]
  t.is((await decoded(framed(good)))?.files, 7)
})

test('a wrong version, a wrong count and data after the end are refused', async (t) => {
  const good = framed([ROOT, plain('a')])
  t.not(await decoded(good), null)
  for (const bad of [
    framed([ROOT, plain('a')], 1),
    framed([ROOT, plain('a')], 3),
    Buffer.concat([good, Buffer.alloc(1)]),
    Buffer.concat([good, good]),
    Buffer.from(good.toString('latin1').replace('manifest 2', 'manifest 1'), 'latin1'),
  ]) {
    t.is(await decoded(bad), null)
  }
})

test('an endless stream is refused before it fills the memory', async (t) => {
  // The same chunk again and again: what is counted is what the decoder takes, not what this test holds.
  const chunk = Buffer.alloc(64 * 1024 * 1024)
  let pulled = 0
  async function* endless(): AsyncGenerator<Buffer> {
    for (;;) {
      pulled += chunk.length
      yield chunk
    }
  }
  await t.throwsAsync(decodeManifest(endless()), { code: 'MANIFEST_INVALID' })
  t.true(pulled <= 2 * 1024 ** 3 + 2 * chunk.length)
})

test('two trees walked side by side meet at every path that both have, in tree order', (t) => {
  fc.assert(
    fc.property(tree, tree, fc.boolean(), (one, two, related) => {
      // Unrelated random trees seldom meet: mostly take the second from the first with some entries more.
      const other = related ? mixed(one, two) : two
      const [a, b] = [build(one), build(other)]
      const paths = new Set([...one, ...other].map(({ path }) => path))
      const expected = [...paths]
        .sort((x, y) => (comesBefore(x, y) ? -1 : 1))
        .map((path) => [a.find(path), b.find(path)])
      t.deepEqual(
        [...joinManifests(a, b)].map((pair) => [pair.a, pair.b]),
        expected,
      )
    }),
    { numRuns: 300 },
  )
})

/** The union of two trees, where one has files in the way of the other's directories these stay away. */
function mixed(one: readonly Made[], two: readonly Made[]): Made[] {
  const entries = new Map<string, Body>()
  for (const { path, body } of [...one, ...two]) {
    const parent = path.slice(0, Math.max(path.lastIndexOf('/'), 0))
    const fits = path === '' || entries.get(parent)?.kind === 'dir'
    if (fits && !entries.has(path)) entries.set(path, body.kind === 'link' ? file() : body)
  }
  const sorted = [...entries].sort(([x], [y]) => (comesBefore(x, y) ? -1 : 1))
  return sorted.map(([path, body]) => ({ path, body }))
}

const LARGE = { sizeBytes: 10_000_000 }
const OTHER_HASH = { hash: Buffer.alloc(32, 1) }

test('a plan says for each entry what has to happen', (t) => {
  const mine = manifestOf(
    ['attr', file()],
    ['content', file()],
    ['dir', dir()],
    ['dir/gone', file()],
    ['kind', dir()],
    ['kind/inside', file()],
    ['large', file(LARGE)],
    ['large-linked', file(LARGE)],
    ['large-linked2', { kind: 'link', to: 8 }],
    ['same', file()],
    ['same2', { kind: 'link', to: 10 }],
    ['target', { kind: 'symlink', ...PLAIN, target: 'x' }],
  )
  const target = manifestOf(
    ['attr', file({ mode: 0o600 })],
    ['content', file(OTHER_HASH)],
    ['dir', dir({ uid: 7 })],
    ['kind', file()],
    ['large', file({ ...LARGE, ...OTHER_HASH })],
    ['large-linked', file({ ...LARGE, ...OTHER_HASH })],
    ['new', dir()],
    ['new/file', file(LARGE)],
    ['same', file()],
    ['same2', { kind: 'link', to: 9 }],
    ['target', { kind: 'symlink', ...PLAIN, target: 'y' }],
  )
  const plan = planChanges(target, mine)
  const steps = Array.from({ length: target.count }, (_, index) => `${target.path(index)} ${plan.step(index)}`)
  t.deepEqual(steps, [
    ' keep',
    'attr attributes',
    'content file',
    'dir attributes',
    'kind file',
    'large blocks',
    'large-linked file',
    'new make',
    'new/file file',
    'same keep',
    'same2 keep',
    'target make',
  ])
  t.deepEqual(plan.removed.map((index) => mine.path(index)).sort(), [
    'dir/gone',
    'kind',
    'kind/inside',
    'large-linked2',
  ])
  t.is(plan.partner(target.find('large')), mine.find('large'))
  t.is(plan.partner(target.find('new')), -1)
  t.deepEqual([...planChanges(target, target).all('keep')].length, target.count)
})
