// In properties: ava's own assertions would end the test before fast-check has found a smaller case.
import { deepEqual } from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { differences } from './comparer.ts'
import { buildNew, buildOld } from './crash-trees.ts'
import { BEGINNING, type Edit, edit, LIMITS, someCreation, someEdit } from './edits.ts'
import { type FileSystemKind, fileSystem } from './file-systems.ts'
import { calm, move, newVolume, type StoreHost, storeHost } from './fixture.ts'
import { buildOddTree } from './odd-tree.ts'

/** ext4 to XFS to btrfs and back. */
const WAY = ['ext4', 'xfs', 'btrfs', 'ext4'] as const
/** Each goes the way twice around, with edits at every station; some 12 s on two calm cores. */
const RUNS = 8

function hostOn(t: ExecutionContext, kind: FileSystemKind): Promise<StoreHost> {
  return storeHost(t, join(fileSystem(t, kind), 'state'))
}

test('a tree with one of everything goes from ext4 to XFS to btrfs and back, and stays the same', async (t) => {
  const v = newVolume()
  const stations: StoreHost[] = []
  for (const kind of WAY) stations.push(await hostOn(t, kind))
  const [first] = stations
  if (first === undefined) return t.fail()
  await first.store.create(v)
  buildOddTree(first.data(v.id))
  let from = first
  for (const [leg, to] of stations.slice(1).entries()) {
    await move(from.store, to.store, v, leg)
    t.deepEqual(differences(from.data(v.id), to.data(v.id)), [], `${WAY[leg]} to ${WAY[leg + 1]}`)
    t.deepEqual(differences(first.data(v.id), to.data(v.id), { extents: 'bounded' }), [], `after ${leg + 1} legs`)
    from = to
  }
})

test('promise 3: a volume moves from ext4 to XFS to btrfs and back, with flags and changed blocks', async (t) => {
  const [ext4, xfs, btrfs] = [await hostOn(t, 'ext4'), await hostOn(t, 'xfs'), await hostOn(t, 'btrfs')]
  const v = newVolume()
  await ext4.store.create(v)
  buildOld(ext4.data(v.id))
  await move(ext4.store, xfs.store, v, 1)
  t.deepEqual(differences(ext4.data(v.id), xfs.data(v.id)), [])
  await move(xfs.store, btrfs.store, v, 2)
  t.deepEqual(differences(xfs.data(v.id), btrfs.data(v.id)), [])
  buildNew(btrfs.data(v.id))
  edit(btrfs.data(v.id), [
    ['mkdir', 'plain-writes'],
    ['write', 'plain-writes/before', 1, 1],
    ['set_flags', 'plain-writes', 'nocow'],
    ['write', 'plain-writes/small', 1, 2],
    ['write', 'plain-writes/large', 300_000, 3],
  ])
  const { hash } = await move(btrfs.store, ext4.store, v, 3)
  t.deepEqual(differences(btrfs.data(v.id), ext4.data(v.id)), [])
  t.is((await ext4.store.capture(v.id, 'quiet', calm)).hash, hash, 'flags that ext4 does not know are carried on')
  await move(ext4.store, xfs.store, v, 4)
  t.deepEqual(differences(ext4.data(v.id), xfs.data(v.id)), [])
  await move(xfs.store, btrfs.store, v, 5)
  t.deepEqual(differences(xfs.data(v.id), btrfs.data(v.id)), [])
})

test('inode flags go along, nocow between btrfs and btrfs only', async (t) => {
  const [one, two, other] = [await hostOn(t, 'btrfs'), await hostOn(t, 'btrfs'), await hostOn(t, 'xfs')]
  const v = newVolume()
  await one.store.create(v)
  const made = edit(one.data(v.id), [
    ...['immutable', 'append', 'nodump', 'nocow'].map((name, n): Edit => ['write', name, n, n]),
    // Only a file that is still empty can be made so.
    ['truncate', 'nocow', 0],
    ['set_flags', 'nocow', 'nocow'],
    ['append', 'nocow', 200_000, 1],
    ['mkdir', 'directory'],
    ['write', 'directory/file', 100_000, 1],
    ['set_flags', 'directory', 'immutable', 'nodump'],
    ['set_flags', 'immutable', 'immutable'],
    ['set_flags', 'append', 'append'],
    ['set_flags', 'nodump', 'nodump'],
  ])
  t.is(made.set_flags, 5)
  await move(one.store, two.store, v)
  t.deepEqual(differences(one.data(v.id), two.data(v.id)), [])
  await move(one.store, other.store, v)
  t.deepEqual(differences(one.data(v.id), other.data(v.id)), [])

  t.is(
    edit(one.data(v.id), [
      ['set_flags', 'immutable'],
      ['write', 'immutable', 9, 9],
    ]).write,
    1,
  )
  await move(one.store, two.store, v, 2)
  t.deepEqual(differences(one.data(v.id), two.data(v.id)), [])
})

test('edits made on every file system arrive on the next', async (t) => {
  const hosts = [await hostOn(t, 'ext4'), await hostOn(t, 'xfs'), await hostOn(t, 'btrfs')]
  const stations = [...hosts, ...hosts, ...hosts.slice(0, 1)]
  const edits = fc.array(someEdit, { minLength: 5, maxLength: 30 })
  const journey = fc.tuple(
    fc.array(someCreation, { minLength: 10, maxLength: 30 }),
    fc.array(edits, { minLength: stations.length - 1, maxLength: stations.length - 1 }),
  )
  await fc.assert(
    fc.asyncProperty(journey, async ([tree, legs]) => {
      const v = newVolume()
      await hosts[0]?.store.create(v)
      edit(hosts[0]?.data(v.id) ?? '', [...BEGINNING, ...tree])
      for (const [seq, edits] of legs.entries()) {
        const [from, to] = [stations[seq], stations[seq + 1]]
        if (from === undefined || to === undefined) throw new Error('no such station')
        edit(from.data(v.id), edits)
        await move(from.store, to.store, v, seq)
        deepEqual(differences(from.data(v.id), to.data(v.id)), [])
      }
    }),
    { ...LIMITS, numRuns: RUNS },
  )
  t.pass()
})

test('what a killed test run left mounted is taken away by the next', async (t) => {
  const child = spawn(process.execPath, [fileURLToPath(new URL('file-system-holder.ts', import.meta.url))], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = once(child, 'exit')
  t.teardown(() => child.kill('SIGKILL'))
  const [root] = (await once(createInterface(child.stdout), 'line')) as [string]
  t.true(isMounted(root))
  fileSystem(t, 'ext4')
  t.true(isMounted(root), 'the run that made it lives')
  child.kill('SIGKILL')
  await ended
  fileSystem(t, 'ext4')
  t.false(isMounted(root))
  t.false(readdirSync(tmpdir()).some((name) => root.startsWith(join(tmpdir(), name))))
})

function isMounted(root: string): boolean {
  return readFileSync('/proc/self/mountinfo', 'latin1').includes(` ${root} `)
}
