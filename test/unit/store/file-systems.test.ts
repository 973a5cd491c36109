import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { differences } from './comparer.ts'
import { buildNew, buildOld } from './crash-trees.ts'
import { calm, directory, host, move, volume } from './fixture.ts'

/** 400 MB: XFS takes nothing smaller than 300. */
const SETUP = `
set -eu
mkdir -p "$1"; truncate -s 400M "$1.img"
case "$1" in ext4) mkfs.ext4 -q ext4.img;; xfs) mkfs.xfs -q xfs.img;; btrfs) mkfs.btrfs -q btrfs.img;; esac
mount -o loop "$1.img" "$1"
`

test('promise 3: a volume moves from ext4 to XFS to btrfs and back, with flags and changed blocks', async (t) => {
  const base = await directory(t)
  const kinds = ['ext4', 'xfs', 'btrfs']
  for (const kind of kinds) {
    execFileSync('sh', ['-c', SETUP, 'sh', kind], { cwd: base, stdio: 'ignore' })
    t.teardown(() => execFileSync('umount', [join(base, kind)]))
  }
  const [ext4, xfs, btrfs] = await Promise.all(kinds.map((kind) => host(t, join(base, kind, 'state'))))
  if (ext4 === undefined || xfs === undefined || btrfs === undefined) throw new Error('three hosts')
  const v = volume()
  await ext4.store.create(v)
  buildOld(ext4.data(v.id))
  await move(ext4.store, xfs.store, v, 1)
  t.deepEqual(differences(ext4.data(v.id), xfs.data(v.id)), [])
  await move(xfs.store, btrfs.store, v, 2)
  t.deepEqual(differences(xfs.data(v.id), btrfs.data(v.id)), [])
  buildNew(btrfs.data(v.id))
  mkdirSync(join(btrfs.data(v.id), 'plain-writes'))
  writeFileSync(join(btrfs.data(v.id), 'plain-writes', 'before'), 'x')
  execFileSync('chattr', ['+C', 'plain-writes'], { cwd: btrfs.data(v.id) })
  writeFileSync(join(btrfs.data(v.id), 'plain-writes', 'small'), 'x')
  writeFileSync(join(btrfs.data(v.id), 'plain-writes', 'large'), randomBytes(300_000))
  const { hash } = await move(btrfs.store, ext4.store, v, 3)
  t.deepEqual(differences(btrfs.data(v.id), ext4.data(v.id)), [])
  t.is((await ext4.store.capture(v.id, 'quiet', calm)).hash, hash, 'flags that ext4 does not know are carried on')
  await move(ext4.store, xfs.store, v, 4)
  t.deepEqual(differences(ext4.data(v.id), xfs.data(v.id)), [])
  await move(xfs.store, btrfs.store, v, 5)
  t.deepEqual(differences(xfs.data(v.id), btrfs.data(v.id)), [])
  for (const { store } of [ext4, xfs, btrfs]) await store[Symbol.asyncDispose]()
})
