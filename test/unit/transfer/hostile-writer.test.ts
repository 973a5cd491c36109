import { mkdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import test from 'ava'
import fc from 'fast-check'
import type { Body } from '../../../agent/store/manifest/record-codec.ts'
import type { FrameType } from '../../../agent/transfer/wire/frame.ts'
import { encodeFlag, encodeOffset } from '../../../agent/transfer/wire/request-codec.ts'
import { hostileGround } from './hostile-ground.ts'
import { bytesOf, type Said, type Twist } from './hostile-server.ts'
import { Liar, type LiarLine, linesOf, manifestOf } from './liar.ts'

const NAMES = ['..', '.', '', '/etc/passwd', 'a/b', 'nul\0byte', '../../precious', 'f1', '~', 'x'.repeat(255)]
const SIZES = [0, 1, 699, 65_536, 65_537, 400_001, 1_000_000, 2 ** 41, Number.MAX_SAFE_INTEGER]

type Lie = (lines: LiarLine[], at: number) => void

function changeBody(lines: LiarLine[], at: number, change: (body: Body) => Body): void {
  const line = lines[at]
  if (line !== undefined) lines[at] = { ...line, body: change(line.body) }
}

const PLAIN = { mode: 0o777, uid: 0, gid: 0, mtimeNs: 0n, flags: 0, xattrs: [] }
const SYMLINK: Body = { ...PLAIN, kind: 'symlink', target: '../../../../precious' }
const DIRECTORY: Body = { ...PLAIN, kind: 'dir' }
const FILE: Body = { ...PLAIN, kind: 'file', sizeBytes: 500, hash: Buffer.alloc(32, 3) }
const LINES: fc.Arbitrary<LiarLine> = fc.record({
  depth: fc.nat(4),
  name: fc.constantFrom(...NAMES),
  body: fc.constantFrom<Body>(SYMLINK, DIRECTORY, FILE, { kind: 'link', to: 0 }, { kind: 'link', to: 3 }),
})

const lie: fc.Arbitrary<Lie> = fc.oneof(
  fc.constantFrom(...NAMES).map(
    (name): Lie =>
      (lines, at) => {
        const line = lines[at]
        if (line !== undefined) lines[at] = { ...line, name }
      },
  ),
  fc.constantFrom(...SIZES).map(
    (sizeBytes): Lie =>
      (lines, at) =>
        changeBody(lines, at, (body) => (body.kind === 'file' ? { ...body, sizeBytes } : { ...FILE, sizeBytes })),
  ),
  fc.constantFrom<Body>(SYMLINK, DIRECTORY, FILE, { kind: 'link', to: 1 }).map(
    (body): Lie =>
      (lines, at) =>
        changeBody(lines, at, () => body),
  ),
  fc.constant<Lie>((lines, at) =>
    changeBody(lines, at, (body) => (body.kind === 'file' ? { ...body, hash: Buffer.alloc(32, 5) } : body)),
  ),
  fc.constant<Lie>((lines, at) => void lines.splice(at, 1)),
  LINES.map(
    (line): Lie =>
      (lines, at) =>
        void lines.splice(at, 0, line),
  ),
)

const HEADS = [encodeOffset(0), encodeOffset(65_536), encodeOffset(2 ** 52), encodeFlag(true), encodeFlag(false)]

/** What is said for one frame instead of it. */
const twisting: fc.Arbitrary<(frame: Said) => readonly Buffer[] | null> = fc.oneof(
  fc.constant(() => []),
  fc.constant((frame: Said) => [bytesOf(frame), bytesOf(frame)]),
  fc.constant(() => null),
  fc.nat().map((place) => (frame: Said) => {
    const body = Buffer.from(frame.body)
    if (body.length > 0) body[place % body.length] = ~(body[place % body.length] ?? 0)
    return [bytesOf({ ...frame, body })]
  }),
  fc.integer({ min: 1, max: 40 }).map((less) => (frame: Said) => {
    return frame.body.length > less ? [bytesOf({ ...frame, body: frame.body.subarray(less) })] : []
  }),
  fc.constantFrom(1, 32, 5000).map((more) => (frame: Said) => {
    return attempt({ ...frame, body: Buffer.concat([frame.body, Buffer.alloc(more, 1)]) })
  }),
  fc.constantFrom(...HEADS).map((head) => (frame: Said) => attempt({ ...frame, head })),
  fc
    .constantFrom<FrameType>('files', 'hashes', 'piece', 'runEnd', 'end', 'manifest', 'manifestEnd', 'changed', 'error')
    .map((type) => (frame: Said) => attempt({ ...frame, type })),
  fc.uint8Array({ minLength: 1, maxLength: 30 }).map((noise) => (frame: Said) => [bytesOf(frame), Buffer.from(noise)]),
)

/** A frame as it is if that can be said at all, else its body alone. */
function attempt(frame: Said): readonly Buffer[] {
  try {
    return [bytesOf(frame)]
  } catch {
    return [frame.body]
  }
}

const CASES = 100
/** Enough for a receiver to judge a lie, also on a busy machine; the cases in which both sides wait take so long. */
const PATIENCE_MS = 500
/** After so many cases comes an apply, then an honest pull: until then what they leave in the stage adds up. */
const CASES_BETWEEN = 5

test('whatever a source says to the store itself, nothing outside of the stage changes and the next honest pull succeeds', async (t) => {
  await using set = await hostileGround(t)
  const outcomes = new Map<string, number>()
  let nth = 0
  const one = fc.record({
    lies: fc.option(fc.array(fc.tuple(lie, fc.nat(20)), { minLength: 1, maxLength: 2 }), { freq: 3 }),
    twists: fc.option(fc.tuple(fc.integer({ min: 2, max: 22 }), twisting), { freq: 3 }),
  })
  await fc.assert(
    fc.asyncProperty(one, async ({ lies, twists }) => {
      const lines = linesOf(set.next().manifest)
      for (const [tell, at] of lies ?? []) tell(lines, at % lines.length)
      const twist: Twist = (frame, at) => (twists?.[0] === at ? twists[1](frame) : [bytesOf(frame)])
      const reader = new Liar(lies === null ? set.next().manifest : manifestOf(lines), set.content)
      const outcome = await set.suffer({ reader, twist, patienceMs: PATIENCE_MS })
      const kind = outcome.replace(/ .*/, '')
      outcomes.set(kind, (outcomes.get(kind) ?? 0) + 1)
      if (kind === 'uncoded:') throw new Error(outcome)
      nth += 1
      if (nth % CASES_BETWEEN === 0) {
        const refusal = await set.apply()
        t.true([null, 'STAGE_INCOMPLETE', 'HASH_MISMATCH'].includes(refusal), `${outcome}, apply: ${refusal}`)
        if (refusal !== null) await set.succeed()
      } else if (kind === 'complete') await set.store.dropStage(set.id)
    }),
    { numRuns: CASES, seed: 26, endOnFailure: true },
  )
  await set.succeed()
  t.log([...outcomes].map(([outcome, times]) => `${outcome} ${times}`).join(', '))
  for (const outcome of ['complete', 'incomplete', 'TRANSFER_CUT', 'MANIFEST_INVALID']) {
    t.true((outcomes.get(outcome) ?? 0) > 0, `${outcome}: ${outcomes.get(outcome)}`)
  }
})

/** What a name, a kind or a number in a manifest may lie about, and how the pull ends. */
const MANIFESTS: Record<string, readonly [outcome: RegExp, lie: (lines: LiarLine[]) => void]> = {
  'a name that is ..': [/^MANIFEST_INVALID/, (lines) => put(lines, 1, '..', FILE)],
  'a name that is .': [/^MANIFEST_INVALID/, (lines) => put(lines, 1, '.', FILE)],
  'an empty name': [/^MANIFEST_INVALID/, (lines) => put(lines, 1, '', FILE)],
  'an absolute name': [/^MANIFEST_INVALID/, (lines) => put(lines, 1, '/etc/passwd', FILE)],
  'a name with /': [/^MANIFEST_INVALID/, (lines) => put(lines, 1, '../precious', FILE)],
  'a name with NUL': [/^MANIFEST_INVALID/, (lines) => put(lines, 1, 'a\0b', FILE)],
  'a file below a symlink': [
    /^MANIFEST_INVALID/,
    (lines) => {
      put(lines, 1, 'aa', SYMLINK)
      put(lines, 2, 'precious', FILE, 2)
    },
  ],
  'two entries of one name': [
    /^MANIFEST_INVALID/,
    (lines) => {
      put(lines, 1, 'aa', SYMLINK)
      put(lines, 2, 'aa', DIRECTORY)
    },
  ],
  'a hard link to a directory': [/^MANIFEST_INVALID/, (lines) => put(lines, 1, 'aa', { kind: 'link', to: 0 })],
  'a hard link to what comes later': [/^MANIFEST_INVALID/, (lines) => put(lines, 1, 'aa', { kind: 'link', to: 3 })],
  'a file of 8 PiB': [
    /^TREE_UNSUPPORTED/,
    (lines) => put(lines, 1, 'aa', { ...FILE, sizeBytes: 2 ** 53 - 1 - 2 ** 40 }),
  ],
  'a file of 2 TiB whose list is not its own': [
    /^HASH_MISMATCH/,
    (lines) => put(lines, 1, 'aa', { ...FILE, sizeBytes: 2 ** 41 }),
  ],
  'a small file of another hash': [/^incomplete/, (lines) => put(lines, 1, 'aa', FILE)],
  'a large file of another hash': [/^HASH_MISMATCH/, (lines) => put(lines, 1, 'aa', { ...FILE, sizeBytes: 300_000 })],
}

function put(lines: LiarLine[], at: number, name: string, body: Body, depth = 1): void {
  lines.splice(at, 0, { depth, name, body })
  for (const [nth, line] of lines.entries()) {
    // Links say which entry they mean by its number.
    const { body: other } = line
    if (nth > at && other.kind === 'link' && other.to >= at) {
      lines[nth] = { ...line, body: { ...other, to: other.to + 1 } }
    }
  }
}

test('a manifest that lies is refused by the store itself, or its files never complete; nothing outside of the stage changes', async (t) => {
  await using set = await hostileGround(t)
  for (const [what, [expected, tell]] of Object.entries(MANIFESTS)) {
    const lines = linesOf(set.next().manifest)
    tell(lines)
    t.regex(await set.suffer({ reader: new Liar(manifestOf(lines), set.content) }), expected, what)
  }
  await set.succeed()
})

const tooMuch = (frame: Said) => attempt({ ...frame, body: Buffer.concat([frame.body, Buffer.alloc(1)]) })
const damaged = (frame: Said) => {
  const body = Buffer.from(frame.body)
  body[body.length - 1] = ~(body.at(-1) ?? 0)
  return [bytesOf({ ...frame, body })]
}

/** What a source may say in the place of each frame of a type, and how the pull ends. */
const ANSWERS: Record<
  string,
  readonly [outcome: RegExp, type: FrameType, instead: (frame: Said) => readonly Buffer[]]
> = {
  'small files with other bytes': [/^incomplete/, 'files', damaged],
  'blocks with other bytes': [/^incomplete/, 'piece', damaged],
  'lists with other hashes': [
    /^HASH_MISMATCH/,
    'hashes',
    (frame) => (frame.body.length > 0 ? damaged(frame) : [bytesOf(frame)]),
  ],
  'a byte more than small files have': [/^TRANSFER_CUT/, 'files', tooMuch],
  'a hash more than a list has': [/^TRANSFER_CUT/, 'hashes', tooMuch],
  'blocks twice': [/^TRANSFER_CUT|^REQUEST_INVALID/, 'piece', (frame) => [bytesOf(frame), bytesOf(frame)]],
  'blocks at another place': [
    /^REQUEST_INVALID|^TRANSFER_CUT/,
    'piece',
    (frame) => [bytesOf({ ...frame, head: encodeOffset(2 ** 50) })],
  ],
  'no blocks at all': [/^incomplete/, 'piece', () => []],
}

test('an answer that lies is refused by the store itself, or its files never complete; nothing outside of the stage changes', async (t) => {
  await using set = await hostileGround(t)
  for (const [what, [expected, type, instead]] of Object.entries(ANSWERS)) {
    const reader = new Liar(set.next().manifest, set.content)
    const twist: Twist = (frame) => (frame.type === type ? instead(frame) : [bytesOf(frame)])
    t.regex(await set.suffer({ reader, twist }), expected, what)
    await set.store.dropStage(set.id)
  }
  await set.succeed()
})

test('a symlink that is put into the stage while a copy comes is not followed', async (t) => {
  await using set = await hostileGround(t)
  const swaps: Record<string, readonly [place: string, target: string]> = {
    'a directory': ['new/fresh', 'beside'],
    'a directory of what is there already': ['new/sub', 'beside'],
    'a small file': ['new/sub/f2', 'precious'],
    'a large file': ['new/fresh/large', 'precious'],
    'the blocks of a file': ['blocks/large', 'precious'],
    'the blocks of a file, as a directory': ['blocks/large', 'beside'],
  }
  for (const [what, [place, target]] of Object.entries(swaps)) {
    let swapped = false
    const asked = () => {
      const at = join(set.stage, place)
      if (swapped) return
      mkdirSync(dirname(at), { recursive: true })
      rmSync(at, { recursive: true, force: true })
      symlinkSync(join(set.base, target), at)
      swapped = true
    }
    const outcome = await set.suffer({ reader: new Liar(set.next().manifest, set.content), asked })
    t.true(swapped, what)
    t.log(`${what}: ${outcome}`)
    t.is(readFileSync(join(set.base, 'precious'), 'utf8'), 'as it was')
    await set.succeed()
    // Back to where it was, so that the next case wants the same.
    await set.succeed()
  }
})
