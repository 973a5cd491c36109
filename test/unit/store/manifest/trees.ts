import fc from 'fast-check'
import { ManifestBuilder } from '../../../../agent/store/manifest/builder.ts'
import type { Manifest } from '../../../../agent/store/manifest/manifest.ts'
import type { Body } from '../../../../agent/store/manifest/record-codec.ts'
import { FLAG_APPEND, FLAG_IMMUTABLE, FLAG_NOCOW, FLAG_NODUMP } from '../../../../agent/sys/flags.ts'

/** An entry of a tree that was made up, with its path. */
export interface Made {
  readonly path: string
  readonly body: Body
}

const byte = fc.integer({ min: 1, max: 255 }).map((code) => String.fromCharCode(code))
const bytes = (maxLength: number) => fc.array(byte, { minLength: 1, maxLength }).map((list) => list.join(''))
export const name = bytes(12)
  .map((text) => text.replaceAll('/', '_'))
  .filter((text) => text !== '.' && text !== '..')
const xattrs = fc
  .uniqueArray(fc.tuple(bytes(12), fc.uint8Array({ maxLength: 40 })), { maxLength: 3, selector: ([key]) => key })
  .map((list) => list.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => [key, Buffer.from(value)] as const))
const attributes = fc.record({
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.integer({ min: 0, max: 0xffff_ffff }),
  gid: fc.integer({ min: 0, max: 0xffff_ffff }),
  mtimeNs: fc.bigInt({ min: -(2n ** 62n), max: 2n ** 65n }),
  flags: fc.constant(0),
  xattrs,
})
const flags = fc
  .subarray([FLAG_IMMUTABLE, FLAG_APPEND, FLAG_NODUMP, FLAG_NOCOW])
  .map((set) => set.reduce((a, b) => a | b, 0))
const hash = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((list) => Buffer.from(list))
const sizeBytes = fc.oneof(
  fc.nat(200_000),
  fc.nat(2 ** 31 - 1),
  fc.maxSafeNat().map((size) => size % 2 ** 42),
)

const kinds = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('dir' as const), flags }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('file' as const), flags, sizeBytes, hash }) },
  fc.record({ kind: fc.constant('symlink' as const), target: bytes(30) }),
  fc.record({ kind: fc.constantFrom('fifo' as const, 'socket' as const) }),
  fc.record({
    kind: fc.constantFrom('char' as const, 'block' as const),
    major: fc.nat(0xfff),
    minor: fc.nat(0xf_ffff),
  }),
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('link' as const) }) },
)
const item = fc.record({ name, attributes, what: kinds, place: fc.nat(), to: fc.nat() })

/** Orders by components, each by its bytes: a directory, then all that is in it, then its next sibling. */
export function comesBefore(a: string, b: string): boolean {
  return a.replaceAll('/', '\0') < b.replaceAll('/', '\0')
}

/**
 * Random trees in tree order: each entry goes into an existing directory, or becomes a further name of an earlier
 * inode.
 */
export const tree = fc.tuple(attributes, fc.array(item, { maxLength: 40 })).map(([root, items]): Made[] => {
  const made = new Map<string, { body: object; to: number }>([['', { body: { kind: 'dir', ...root }, to: 0 }]])
  for (const { name, attributes, what, place, to } of items) {
    const directories = [...made].filter(([, { body }]) => 'kind' in body && body.kind === 'dir')
    const parent = directories[place % directories.length]?.[0] ?? ''
    const path = parent === '' ? name : `${parent}/${name}`
    if (!made.has(path)) made.set(path, { body: { ...attributes, ...what }, to })
  }
  const sorted = [...made].sort(([a], [b]) => (comesBefore(a, b) ? -1 : 1))
  const inodes: number[] = []
  return sorted.map(([path, { body, to }], index) => {
    const entry = { path, body: body as Body }
    if (entry.body.kind === 'link') {
      const target = inodes[to % Math.max(inodes.length, 1)]
      if (target !== undefined) return { path, body: { kind: 'link', to: target } }
      entry.body = { ...(body as Body & { kind: 'fifo' }), kind: 'fifo' }
    }
    if (entry.body.kind !== 'dir') inodes.push(index)
    return entry
  })
})

export function build(entries: readonly Made[]): Manifest {
  const builder = new ManifestBuilder()
  for (const { path, body } of entries) {
    const names = path === '' ? [] : path.split('/')
    builder.add(names.length, names.at(-1) ?? '', body)
  }
  return builder.finish()
}

export function encode(manifest: Manifest): Buffer {
  return Buffer.concat([...manifest.encoded()])
}
