import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'

const PYTHON = '/usr/bin/python3'
const EDIT_TREE = fileURLToPath(new URL('../../fixtures/edit-tree.py', import.meta.url))

/** Name of an edit and its arguments, as test/fixtures/edit-tree.py takes them; names as latin1. */
export type Edit = readonly [name: string, ...args: (string | number | boolean)[]]

/** Few names, so that edits meet each other: kinds change, links break, directories take the place of files. */
const path = fc.oneof(
  { arbitrary: fc.constantFrom('a', 'a/x', 'b', 'b/x', 'c'), weight: 3 },
  { arbitrary: fc.constantFrom('a/y', 'a/d', 'a/d/x', 'd', 'd/bytes\xff\xe9', 'a!', 'a-b', 'new\nline'), weight: 2 },
  { arbitrary: fc.constantFrom('a-b/x', 'd/d/d', ' blank ', '-dash', 'd/\\', 'long'.padEnd(255, '-')), weight: 1 },
)
/** Around pages, around a block, some blocks; a few of some MiB. */
const BLOCK_BYTES = 64 * 1024
const size = fc.oneof(
  { arbitrary: fc.integer({ min: 0, max: 100 }), weight: 4 },
  { arbitrary: fc.integer({ min: 4095, max: 4097 }), weight: 2 },
  { arbitrary: fc.integer({ min: BLOCK_BYTES - 1, max: BLOCK_BYTES + 1 }), weight: 2 },
  { arbitrary: fc.integer({ min: 0, max: 5 * BLOCK_BYTES }), weight: 4 },
  { arbitrary: fc.integer({ min: 0, max: 50 }).map((blocks) => blocks * BLOCK_BYTES), weight: 1 },
)
const seed = fc.nat(1_000_000)
const id = fc.oneof(fc.nat(5), fc.constantFrom(1000, 65_534, 4_000_000_000))
const bits = fc.nat(7)
// Together they stay within what ext4 holds beside an inode: one block of 4 KiB.
const xattrName = fc.constantFrom(
  ...['user.one', 'user.two', 'trusted.one', 'trusted.two', 'security.one', 'user.\xff\xfe'],
)
const xattrBytes = fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 400 }))
/** What ext4, XFS and btrfs all can hold: 1901 to 2038 and beyond. */
const seconds = fc.integer({ min: -2_000_000_000, max: 2_100_000_000 })
const aclKind = fc.constantFrom('access', 'default')
const flags = fc.uniqueArray(fc.constantFrom('immutable', 'append', 'nodump'), { maxLength: 2 })

function of(name: string, ...args: fc.Arbitrary<string | number | boolean>[]): fc.Arbitrary<Edit> {
  return fc.tuple(...args).map((values) => [name, ...values] as Edit)
}

/** What rarely finds what it needs is tried more often. */
function often(times: number, arbitrary: fc.Arbitrary<Edit>): fc.Arbitrary<Edit>[] {
  return new Array<fc.Arbitrary<Edit>>(times).fill(arbitrary)
}

const MAKING = [
  of('mkdir', path),
  of('write', path, size, seed),
  of('symlink', path, path),
  of('fifo', path),
  of('bind', path),
  // Never opened, so any number will do that XFS can hold: 9 of the kernel's 12 bits, 18 of its 20.
  of('device', path, fc.constantFrom('char', 'block'), fc.nat(0x1ff), fc.nat(0x3_ffff)),
  ...often(3, of('link', path, path)),
]
const CONTENT = [
  of('append', path, size, seed),
  of('overwrite', path, size, size, seed),
  of('zeros', path, size, size),
  ...often(2, of('store', path, size, size, seed)),
  of('truncate', path, size),
  of('punch', path, size, size),
  of('preallocate', path, size, size, fc.boolean()),
  of('disguise', path, seed),
]
const NAMES = [
  of('rename', path, path),
  of('swap', path, path),
  of('remove', path),
  of('reuse', path, size, seed),
  of('become_directory', path, size, seed),
  ...often(2, of('become_file', path, size, seed)),
]
const ATTRIBUTES = [
  of('chmod', path, fc.nat(0o7777)),
  of('chown', path, id, id),
  of('touch', path, seconds, fc.nat(999_999_999)),
  of('set_xattr', path, xattrName, xattrBytes, seed),
  ...often(2, of('remove_xattr', path, fc.nat(3))),
  of('set_capability', path, fc.nat(0xffff_ffff)),
  of('set_acl', path, aclKind, id, id, bits),
]
const FLAGS = fc.tuple(path, flags).map(([p, names]): Edit => ['set_flags', p, ...names])

/** Every kind of edit there is; a test that ran many can tell that none was left out. */
export const EDIT_KINDS = [
  ...['mkdir', 'write', 'symlink', 'fifo', 'bind', 'device', 'link'],
  ...['append', 'overwrite', 'zeros', 'store', 'truncate', 'punch', 'preallocate', 'disguise'],
  ...['rename', 'swap', 'remove', 'reuse', 'become_directory', 'become_file'],
  ...['chmod', 'chown', 'touch', 'set_xattr', 'remove_xattr', 'set_capability', 'set_acl', 'set_flags'],
]

/** What edits find at most of the names they try. */
export const BEGINNING: readonly Edit[] = [
  ...['a', 'a/d', 'd'].map((p): Edit => ['mkdir', p]),
  ...['a/x', 'a/y', 'c'].map((p, n): Edit => ['write', p, n * 2 * BLOCK_BYTES, n]),
  ['set_xattr', 'c', 'user.one', 5, 1],
  ['set_xattr', 'a', 'trusted.one', 0, 1],
]

/** Fills a tree: mostly makes things. */
export const someCreation: fc.Arbitrary<Edit> = fc.oneof(
  { arbitrary: fc.oneof(...MAKING), weight: 6 },
  { arbitrary: of('write', path, size, seed), weight: 4 },
  { arbitrary: fc.oneof(...CONTENT), weight: 2 },
  { arbitrary: fc.oneof(...ATTRIBUTES), weight: 3 },
)

/** Changes a tree in any way. */
export const someEdit: fc.Arbitrary<Edit> = fc.oneof(
  { arbitrary: fc.oneof(...MAKING), weight: 5 },
  { arbitrary: fc.oneof(...CONTENT), weight: 8 },
  { arbitrary: fc.oneof(...NAMES), weight: 6 },
  { arbitrary: fc.oneof(...ATTRIBUTES), weight: 6 },
  // Few: what is immutable keeps other edits from taking effect.
  { arbitrary: FLAGS, weight: 1 },
)

/**
 * A property that holds takes a fraction of this time; for one that fails, the rest goes into finding a smaller
 * case.
 */
export const LIMITS = {
  interruptAfterTimeLimit: 240_000,
  markInterruptAsFailure: true,
  includeErrorInReport: true,
} as const

/** How often each kind of edit took effect. */
export type Effects = Record<string, number>

export function edit(root: string, edits: readonly Edit[]): Effects {
  return JSON.parse(execFileSync(PYTHON, [EDIT_TREE, root], { input: JSON.stringify(edits), encoding: 'utf8' }))
}

/** Edits while something else goes on, with a pause after each. Rejects when the editor fails. */
export async function editSlowly(root: string, edits: readonly Edit[], pauseMs: number): Promise<void> {
  const child = spawn(PYTHON, [EDIT_TREE, root, String(pauseMs)], { stdio: ['pipe', 'ignore', 'inherit'] })
  child.stdin.end(JSON.stringify(edits))
  const [code] = await once(child, 'exit')
  if (code !== 0) throw new Error(`the editor ended with ${code}`)
}
