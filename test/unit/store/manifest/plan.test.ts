import test from 'ava'
import fc from 'fast-check'
import { joinManifests } from '../../../../agent/store/manifest/join.ts'
import { planChanges } from '../../../../agent/store/manifest/plan.ts'
import type { Body } from '../../../../agent/store/manifest/record-codec.ts'
import { dir, file, manifestWith, PLAIN } from './bodies.ts'
import { build, comesBefore, type Made, tree } from './trees.ts'

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
  const mine = manifestWith(
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
  const target = manifestWith(
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
