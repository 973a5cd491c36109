import test from 'ava'
import { MAX_DEPTH } from '../../../../agent/store/manifest/byte-path.ts'
import { MAGIC, TREE_LIMITS } from '../../../../agent/store/manifest/format.ts'
import { decodeManifest, parseManifest } from '../../../../agent/store/manifest/parser.ts'
import { decoded, file, HASH, manifestWith } from './bodies.ts'

const TRAILER_BYTES = 5

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
  'too deep': [ROOT, ...Array.from({ length: MAX_DEPTH + 1 }, (_, nth) => record(DIR, nth + 1, 'd', raw()))],
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
  const limits = { ...TREE_LIMITS, manifestBytes: 16 * 1024 * 1024 }
  const chunk = Buffer.alloc(1024 * 1024)
  let pulled = 0
  async function* endless(): AsyncGenerator<Buffer> {
    yield MAGIC
    for (;;) {
      pulled += chunk.length
      yield chunk
    }
  }
  await t.throwsAsync(decodeManifest(endless(), limits), { code: 'MANIFEST_INVALID', message: /16777216 bytes/ })
  t.true(pulled <= limits.manifestBytes + chunk.length)
})

test('nothing is collected of a stream that does not begin as a manifest', async (t) => {
  let pulled = 0
  async function* noise(): AsyncGenerator<Buffer> {
    for (;;) {
      pulled += 1
      yield Buffer.alloc(1024)
    }
  }
  await t.throwsAsync(decodeManifest(noise()), { code: 'MANIFEST_INVALID' })
  t.is(pulled, 1)
})

test('the most entries are counted while a manifest is decoded', async (t) => {
  const good = manifestWith(['a', file()], ['b', file()]).buffer
  t.is((await parseManifest(good, { ...TREE_LIMITS, entries: 3 })).count, 3)
  await t.throwsAsync(parseManifest(good, { ...TREE_LIMITS, entries: 2 }), { code: 'MANIFEST_INVALID' })
})
