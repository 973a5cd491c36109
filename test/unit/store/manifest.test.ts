import test from 'ava'
import fc from 'fast-check'
import { WherryError } from '../../../agent/errors.ts'
import type { Entry } from '../../../agent/store/entry.ts'
import { decodeManifest, encodeManifest, MAX_LINE_BYTES, makeManifest } from '../../../agent/store/manifest.ts'
import { comesBefore } from '../../../agent/store/path.ts'

const HASH = 'ab'.repeat(32)
const byte = (min: number) => fc.integer({ min, max: 255 }).map((code) => String.fromCharCode(code))
const name = fc
  .array(byte(1), { minLength: 1, maxLength: 12 })
  .map((bytes) => bytes.join('').replaceAll('/', '_'))
  .filter((text) => text !== '.' && text !== '..')
const attributes = fc.record({
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.integer({ min: 0, max: 0xffff_ffff }),
  gid: fc.integer({ min: 0, max: 0xffff_ffff }),
  mtimeNs: fc.bigInt({ min: -(2n ** 65n), max: 2n ** 65n }),
  xattrs: fc.dictionary(name, fc.uint8Array({ maxLength: 40 }), { maxKeys: 3, noNullPrototype: true }).map((record) =>
    Object.keys(record)
      .sort()
      .map((key) => [key, Buffer.from(record[key] ?? []).toString('base64')] as const),
  ),
})
type Inode = { readonly kind: string }
const inode = fc.oneof(
  fc.constant({ kind: 'dir' }),
  fc.record({ kind: fc.constant('file'), sizeBytes: fc.maxSafeNat().map((n) => n % 2 ** 40), hash: fc.constant(HASH) }),
  fc.record({ kind: fc.constant('file'), sizeBytes: fc.nat(), hash: fc.constant(HASH), allocatedBytes: fc.nat() }),
  fc.record({
    kind: fc.constant('symlink'),
    target: fc.array(byte(1), { minLength: 1, maxLength: 30 }).map((b) => b.join('')),
  }),
  fc.record({ kind: fc.constantFrom('fifo', 'socket') }),
  fc.record({ kind: fc.constantFrom('char', 'block'), major: fc.nat(0xfff), minor: fc.nat(0xf_ffff) }),
)

/** Random trees: each new entry goes into a directory that is there already, or becomes one more name of an inode. */
const tree = fc
  .array(fc.record({ name, attributes, inode, place: fc.nat(), link: fc.nat({ max: 9 }) }), { maxLength: 40 })
  .chain((items) => attributes.map((root) => buildTree(items, root)))

function buildTree(
  items: readonly { name: string; attributes: object; inode: Inode; place: number; link: number }[],
  root: object,
): Entry[] {
  const entries = new Map<string, Entry>([['', { kind: 'dir', path: '', ...root } as Entry]])
  for (const item of items) {
    const directories = [...entries.values()].filter((entry) => entry.kind === 'dir')
    const parent = directories[item.place % directories.length]?.path ?? ''
    const path = parent === '' ? item.name : `${parent}/${item.name}`
    if (!entries.has(path)) entries.set(path, { ...item.inode, path, ...item.attributes } as Entry)
  }
  const sorted = [...entries.values()].sort((a, b) => (comesBefore(a.path, b.path) ? -1 : 1))
  const linkable = sorted.find((entry) => entry.kind === 'file')
  return sorted.map((entry, index) =>
    linkable !== undefined && entry.kind === 'fifo' && index > sorted.indexOf(linkable)
      ? { kind: 'link', path: entry.path, to: linkable.path }
      : entry,
  )
}

async function encode(entries: readonly Entry[]): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of encodeManifest(await makeManifest(entries))) chunks.push(chunk)
  return Buffer.concat(chunks)
}

async function* inPieces(data: Buffer, sizeBytes: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < data.length; at += sizeBytes) yield data.subarray(at, at + sizeBytes)
}

async function* lines(...items: readonly unknown[]): AsyncGenerator<Buffer> {
  for (const item of items) yield Buffer.from(`${typeof item === 'string' ? item : JSON.stringify(item)}\n`)
}

test('a manifest comes back as it went, whatever the names, attributes and pieces it arrives in', async (t) => {
  await fc.assert(
    fc.asyncProperty(tree, fc.integer({ min: 1, max: 5000 }), async (entries, sizeBytes) => {
      const made = await makeManifest(entries)
      const back = await decodeManifest(inPieces(await encode(entries), sizeBytes))
      t.deepEqual(back.entries, entries)
      t.is(back.hash, made.hash)
      t.is(back.bytes, made.bytes)
    }),
    { numRuns: 200 },
  )
  t.pass()
})

test('a manifest with any byte changed, cut off or added is refused, or has another hash', async (t) => {
  await fc.assert(
    fc.asyncProperty(
      tree,
      fc.nat(),
      fc.nat(255),
      fc.constantFrom('change', 'cut', 'insert'),
      async (entries, at, value, how) => {
        const good = await encode(entries)
        const place = at % good.length
        const bad = Buffer.concat([
          good.subarray(0, place),
          how === 'cut' ? Buffer.alloc(0) : Buffer.from([value]),
          how === 'cut' ? Buffer.alloc(0) : good.subarray(how === 'insert' ? place : place + 1),
        ])
        if (bad.equals(good)) return
        try {
          const decoded = await decodeManifest(inPieces(bad, 1000))
          // Only the hint about allocated bytes is not covered by the hash.
          if (decoded.hash === (await makeManifest(entries)).hash) {
            t.deepEqual(decoded.entries.map(withoutHint), entries.map(withoutHint))
          }
        } catch (error) {
          t.true(error instanceof WherryError && error.code === 'MANIFEST_INVALID', String(error))
        }
      },
    ),
    { numRuns: 1000 },
  )
  t.pass()
})

function withoutHint(entry: Entry): Entry {
  if (entry.kind !== 'file') return entry
  const { allocatedBytes: _, ...rest } = entry
  return rest
}

test('arbitrary bytes are refused', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 2000 }), async (bytes) => {
      await t.throwsAsync(decodeManifest(inPieces(Buffer.from(bytes), 100)), { code: 'MANIFEST_INVALID' })
    }),
    { numRuns: 300 },
  )
})

const HEADER = { wherry: 'manifest', version: 1 }
const node = (p: string, k: string, more: object = {}) => ({ p, k, m: 0o755, u: 0, g: 0, t: '0', ...more })
const file = (p: string, more: { x?: unknown; [key: string]: unknown } = {}) => {
  const { x, ...rest } = more
  return node(p, 'file', { ...(x === undefined ? {} : { x }), s: 1, h: HASH, ...rest })
}
const ROOT = node('', 'dir')

const HOSTILE: Readonly<Record<string, readonly unknown[]>> = {
  'no root': [file('a')],
  'a file as root': [file('')],
  'two roots': [ROOT, ROOT],
  'an absolute path': [ROOT, file('/etc/passwd')],
  'a parent step': [ROOT, file('..')],
  'a parent step within': [ROOT, node('a', 'dir'), file('a/../b')],
  'a dot': [ROOT, file('.')],
  'an empty component': [ROOT, node('a', 'dir'), file('a//b')],
  'a NUL': [ROOT, file('a\0b')],
  'a character that is no byte': [ROOT, file('a\u0100')],
  'a name too long': [ROOT, file('a'.repeat(256))],
  'too deep a path': [ROOT, file(Array(300).fill('a').join('/'))],
  'a missing parent': [ROOT, file('a/b')],
  'a symlink as parent': [ROOT, node('a', 'symlink', { l: '/etc' }), file('a/passwd')],
  'a file as parent': [ROOT, file('a'), file('a/b')],
  'a doubled path': [ROOT, file('a'), file('a')],
  'wrong order': [ROOT, file('b'), file('a')],
  'order by whole paths': [ROOT, node('a', 'dir'), file('a-b'), file('a/c')],
  'a link to nothing': [ROOT, { p: 'a', k: 'link', to: 'b' }],
  'a link to a directory': [ROOT, node('a', 'dir'), { p: 'b', k: 'link', to: 'a' }],
  'a link to a link': [ROOT, file('a'), { p: 'b', k: 'link', to: 'a' }, { p: 'c', k: 'link', to: 'b' }],
  'a link forward': [ROOT, { p: 'a', k: 'link', to: 'b' }, file('b')],
  'a link outside': [ROOT, { p: 'a', k: 'link', to: '../../etc/shadow' }],
  'a negative size': [ROOT, file('a', { s: -1 })],
  'a size beyond integers': [ROOT, file('a', { s: 2 ** 60 })],
  'sizes that sum beyond integers': [ROOT, file('a', { s: 2 ** 53 - 1 }), file('b', { s: 2 ** 53 - 1 })],
  'a hash with a path in it': [ROOT, file('a', { h: `../../${'a'.repeat(58)}` })],
  'a mode with type bits': [ROOT, file('a', { m: 0o100644 })],
  'a fractional owner': [ROOT, file('a', { u: 1.5 })],
  'an endless time': [ROOT, file('a', { t: '9'.repeat(40) })],
  'an empty symlink': [ROOT, node('a', 'symlink', { l: '' })],
  'a symlink target too long': [ROOT, node('a', 'symlink', { l: 'x'.repeat(4096) })],
  'an unknown kind': [ROOT, node('a', 'door')],
  'an unknown field': [ROOT, file('a', { z: 1 })],
  'fields in another order': [ROOT, '{"k":"fifo","p":"a","m":0,"u":0,"g":0,"t":"0"}'],
  spaces: [ROOT, '{"p":"a", "k":"fifo","m":0,"u":0,"g":0,"t":"0"}'],
  'a doubled field': [ROOT, '{"p":"a","k":"fifo","m":0,"u":0,"g":0,"t":"0","t":"0"}'],
  'a prototype': [ROOT, '{"__proto__":{},"p":"a","k":"fifo","m":0,"u":0,"g":0,"t":"0"}'],
  'attributes out of order': [
    ROOT,
    file('a', {
      x: [
        ['b', ''],
        ['a', ''],
      ],
    }),
  ],
  'doubled attributes': [
    ROOT,
    file('a', {
      x: [
        ['a', ''],
        ['a', ''],
      ],
    }),
  ],
}

test('every known trick is refused with MANIFEST_INVALID', async (t) => {
  for (const [trick, entries] of Object.entries(HOSTILE)) {
    const stream = lines(HEADER, ...entries, { end: entries.length })
    await t.throwsAsync(decodeManifest(stream), { instanceOf: WherryError, code: 'MANIFEST_INVALID' }, trick)
  }
  // The same frame without a trick is good, so each refusal above had its own reason.
  const good = lines(HEADER, ROOT, node('a', 'dir'), file('a/c', { x: [['user.a', 'AA==']] }), file('a-b'), { end: 4 })
  t.is((await decodeManifest(good)).files, 3)
})

test('a wrong version, a wrong count, a missing end and data after it are refused', async (t) => {
  for (const stream of [
    lines({ wherry: 'manifest', version: 2 }, ROOT, { end: 1 }),
    lines(HEADER, ROOT, { end: 2 }),
    lines(HEADER, ROOT),
    lines(HEADER, { end: 0 }),
    lines(HEADER, ROOT, { end: 1 }, ROOT),
    lines(),
  ]) {
    await t.throwsAsync(decodeManifest(stream), { code: 'MANIFEST_INVALID' })
  }
})

test('an endless line is refused before it fills the memory', async (t) => {
  let pulled = 0
  async function* endless(): AsyncGenerator<Buffer> {
    for (;;) {
      pulled += 65_536
      yield Buffer.alloc(65_536, 'x')
    }
  }
  await t.throwsAsync(decodeManifest(endless()), { code: 'MANIFEST_INVALID' })
  t.true(pulled <= MAX_LINE_BYTES + 2 * 65_536)
})
