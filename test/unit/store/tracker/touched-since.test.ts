import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  copyFileSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmdirSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import type { Tracker } from '../../../../agent/store/tracker/contract.ts'
import { InodeTracker } from '../../../../agent/store/tracker/inode-tracker.ts'
import { type KernelPart, openKernelPart } from '../../../../agent/store/tracker/kernel-part.ts'
import { seesAttributes } from '../../../../agent/store/tracker/self-test.ts'
import { hasJournal } from '../../../../agent/store/tracker/suitability.ts'
import { fileSystem } from '../file-systems.ts'
import { buildObject, mountTwice, mustOpen, openTracked } from './fixture.ts'

const MAPPED_WRITE =
  'import mmap,sys; f=open(sys.argv[1],"r+b"); m=mmap.mmap(f.fileno(),0); m[5:9]=b"mmap"; m.close(); f.close()'
const TIMES = 'import os,sys; os.utime(sys.argv[1], ns=(os.stat(sys.argv[1]).st_atime_ns, 7))'
const DIRECT =
  'import os,sys,mmap; f=os.open(sys.argv[1],os.O_RDWR|os.O_DIRECT); ' +
  'm=mmap.mmap(-1,4096); m.write(b"d"*4096); os.pwrite(f,m,0)'

/**
 * A change in a directory that has `file`, `other`, `link` (symbolic) and `sub` (a directory).
 * And which of them it concerns ('' is the directory).
 */
const CHANGES: Record<string, readonly [(directory: string) => void, readonly string[]]> = {
  create: [(at) => writeFileSync(join(at, 'new'), 'new'), ['', 'new']],
  unlink: [(at) => unlinkSync(join(at, 'other')), ['']],
  'rename within': [(at) => renameSync(join(at, 'other'), join(at, 'elsewhere')), ['']],
  'rename over': [(at) => renameSync(join(at, 'other'), join(at, 'file')), ['']],
  'rename away': [(at) => renameSync(join(at, 'other'), join(at, 'sub', 'other')), ['', 'sub']],
  'hard link': [(at) => linkSync(join(at, 'file'), join(at, 'sub', 'second')), ['file', 'sub']],
  'symbolic link': [(at) => symlinkSync('nowhere', join(at, 'new')), ['']],
  mkdir: [(at) => mkdirSync(join(at, 'sub', 'new')), ['sub']],
  rmdir: [(at) => rmdirSync(join(at, 'sub')), ['']],
  mkfifo: [(at) => run('mkfifo', join(at, 'new')), ['']],
  chmod: [(at) => chmodSync(join(at, 'file'), 0o755), ['file']],
  'chmod of a directory': [(at) => chmodSync(join(at, 'sub'), 0o700), ['sub']],
  chown: [(at) => chownSync(join(at, 'file'), 12, 13), ['file']],
  utimes: [(at) => utimesSync(join(at, 'file'), 1, 2), ['file']],
  'the mtime alone': [(at) => run('python3', '-c', TIMES, join(at, 'file')), ['file']],
  'times of a link': [(at) => lutimesSync(join(at, 'link'), 1, 2), ['link']],
  setxattr: [(at) => run('setfattr', '-n', 'user.a', '-v', 'b', join(at, 'file')), ['file']],
  'setxattr of a directory': [(at) => run('setfattr', '-n', 'user.a', '-v', 'b', join(at, 'sub')), ['sub']],
  'a large xattr': [(at) => run('setfattr', '-n', 'user.a', '-v', 'b'.repeat(2000), join(at, 'file')), ['file']],
  setfacl: [(at) => run('setfacl', '-m', 'u:12:r', join(at, 'file')), ['file']],
  chattr: [(at) => run('chattr', '+d', join(at, 'file')), ['file']],
  write: [(at) => writeFileSync(join(at, 'file'), 'written', { flag: 'r+' }), ['file']],
  'a store through a mapping': [(at) => run('python3', '-c', MAPPED_WRITE, join(at, 'file')), ['file']],
  'a direct write': [(at) => run('python3', '-c', DIRECT, join(at, 'file')), ['file']],
  append: [(at) => writeFileSync(join(at, 'file'), 'more', { flag: 'a' }), ['file']],
  truncate: [(at) => truncateSync(join(at, 'file'), 3), ['file']],
  'a longer size': [(at) => truncateSync(join(at, 'file'), 100_000), ['file']],
  fallocate: [(at) => run('fallocate', '-l', '200000', join(at, 'file')), ['file']],
  'fallocate without a new size': [(at) => run('fallocate', '-n', '-l', '200000', join(at, 'file')), []],
  'punching a hole': [(at) => run('fallocate', '-p', '-o', '0', '-l', '4096', join(at, 'file')), ['file']],
  'copying over': [(at) => copyFileSync(join(at, 'other'), join(at, 'file')), ['file']],
}

/** Those that another content comes with, and those that leave the content alone. */
const WRITES = ['write', 'a store through a mapping', 'a direct write', 'append', 'truncate', 'punching a hole']
const NO_WRITES = ['hard link', 'chmod', 'chown', 'utimes', 'the mtime alone', 'setxattr', 'setfacl', 'chattr']

/** Programs whose absence must show in one of the changes. */
const NEEDED = {
  ext4: ['ext4_on_transaction_end', 'ext4_on_inode'],
  xfs: ['xfs_on_unlock'],
} as const

for (const kind of ['ext4', 'xfs'] as const) {
  test(`${kind}: whatever changes an inode in any way touches it, and no other`, (t) => {
    const { tracker, root } = openTracked(t, kind)
    const unseen: string[] = []
    for (const name of Object.keys(CHANGES)) unseen.push(...unseenOf(tracker, root, name))
    t.deepEqual(unseen, [])
  })

  test(`${kind}: what changes the content of a file tells that it does, and what a sync writes out does not`, (t) => {
    const { tracker, root } = openTracked(t, kind)
    for (const name of [...WRITES, ...NO_WRITES]) {
      const directory = newDirectory(root, name)
      const [before, { ino }] = [tracker.cut(), lstatSync(join(directory, 'file'), { bigint: true })]
      CHANGES[name]?.[0](directory)
      const after = tracker.cut()
      execFileSync('sync', ['-f', root])
      const wasWritten = (since: number) => tracker.touched(since)?.wasWritten(...halves(ino))
      t.is(wasWritten(before), WRITES.includes(name), name)
      t.is(wasWritten(after), false, name)
    }
  })

  for (const without of NEEDED[kind]) {
    test(`${kind}: without ${without} it does not`, (t) => {
      const { root } = mountTwice(t, kind)
      const { dev } = statSync(root)
      const [major, minor] = [dev >> 8, dev & 0xff]
      const settings = { fileSystem: kind, major, minor, dropEvery: 0, without, has: () => true } as const
      using tracker = new InodeTracker(openKernelPart(buildObject(), settings), { tellsTouched: true })
      const unseen = Object.keys(CHANGES).flatMap((name) => unseenOf(tracker, root, name))
      t.log(unseen)
      t.true(unseen.length > 0)
    })
  }
}

test('ext4 without a journal tells no such thing', (t) => {
  const root = fileSystem(t, 'ext4', { inMemory: true, mkfs: ['-O', '^has_journal'] })
  using tracker = mustOpen(root)
  t.is(tracker.touched(tracker.cut()), null)
})

test('whether a file system has a journal is what it says of itself', (t) => {
  const kinds = { ext4: ['ext4', []], bare: ['ext4', ['-O', '^has_journal']], xfs: ['xfs', []] } as const
  const found = Object.entries(kinds).map(([name, [kind, mkfs]]) => {
    const { dev } = statSync(fileSystem(t, kind, { inMemory: true, mkfs }))
    return [name, hasJournal(kind, dev >> 8, dev & 0xff)]
  })
  t.deepEqual(Object.fromEntries(found), { ext4: true, bare: false, xfs: true })
  t.false(hasJournal('ext4', 4095, 255), 'what nobody knows of')
})

/** Events that have nothing to do with a file that is tried, just before each look at what was touched. */
const UNRELATED: Record<string, (root: string, other: string) => void> = {
  'a transaction of another file system': (_root, other) => chmodSync(join(other, 'file'), 0o600 + (Date.now() % 8)),
  'a change of a file with the same number elsewhere': (_root, other) => {
    const twins = readdirSync(other).filter((name) => name.startsWith('twin'))
    run('chattr', '+d', ...twins.map((name) => join(other, name)))
  },
  'a sync': (root) => run('sync', '-f', root),
  'a sync of everything': () => run('sync'),
}

for (const [what, happens] of Object.entries(UNRELATED)) {
  test.serial(`ext4 without a journal is not said to tell of attributes because of ${what}`, (t) => {
    const root = fileSystem(t, 'ext4', { inMemory: true, mkfs: ['-O', '^has_journal'] })
    const other = fileSystem(t, 'ext4', { inMemory: true })
    writeFileSync(join(other, 'file'), 'file')
    writeTwins(other)
    using tracking = mustOpen(other)
    t.truthy(tracking, 'another tracker works beside it')
    using kernel = openOn(root)
    for (let tries = 0; tries < 10; tries++)
      t.false(
        seesAttributes(
          withBefore(kernel, () => happens(root, other)),
          root,
        ),
      )
  })

  test.serial(`ext4 with a journal is said to tell of attributes in spite of ${what}`, (t) => {
    const [root, other] = [fileSystem(t, 'ext4', { inMemory: true }), fileSystem(t, 'ext4', { inMemory: true })]
    writeFileSync(join(other, 'file'), 'file')
    writeTwins(other)
    using kernel = openOn(root)
    t.true(
      seesAttributes(
        withBefore(kernel, () => happens(root, other)),
        root,
      ),
    )
  })
}

/** Files that have the first numbers that each new file system gives away. */
function writeTwins(root: string): void {
  for (let nth = 0; nth < 20; nth++) writeFileSync(join(root, `twin${nth}`), '')
}

/** The kernel's part on a file system, whatever it says of itself. */
function openOn(root: string) {
  const { dev } = statSync(root)
  const settings = { fileSystem: 'ext4', major: dev >> 8, minor: dev & 0xff, dropEvery: 0, has: () => true } as const
  return openKernelPart(buildObject(), settings)
}

/** Something happens just before each look at what was touched. */
function withBefore(kernel: KernelPart, happens: () => void): KernelPart {
  const places = () => {
    happens()
    return kernel.places()
  }
  return { ...kernel, places }
}

test('what was before a cut, or is of a cut that is not known, is not told', (t) => {
  const { tracker, root } = openTracked(t, 'ext4')
  t.is(tracker.touched(0), null)
  t.is(tracker.touched(tracker.cut() + 1), null)
  tracker.disable('test')
  t.is(tracker.touched(1), null)
  t.truthy(root)
})

/** As Touched takes an inode's number. */
function halves(ino: bigint): [number, number] {
  return [Number(ino & 0xffff_ffffn), Number(ino >> 32n)]
}

function newDirectory(root: string, name: string): string {
  const directory = join(root, name.replaceAll(' ', '-'))
  mkdirSync(join(directory, 'sub'), { recursive: true })
  for (const file of ['file', 'other', 'bystander']) writeFileSync(join(directory, file), file.repeat(1000))
  symlinkSync('file', join(directory, 'link'))
  execFileSync('sync', ['-f', root])
  return directory
}

function run(program: string, ...args: readonly string[]): void {
  execFileSync(program, args)
}

/** Makes a change in a directory of its own; answers what of it went unseen, or was seen without having happened. */
function unseenOf(tracker: Tracker, root: string, name: string): string[] {
  const [change, concerned] = CHANGES[name] ?? [() => {}, []]
  const directory = newDirectory(root, name)
  const cut = tracker.cut()
  change(directory)
  const touched = tracker.touched(cut)
  const isTouched = (file: string) => {
    const { ino } = lstatSync(join(directory, file), { bigint: true })
    return touched?.has(...halves(ino)) ?? true
  }
  const unseen = concerned.filter((file) => !isTouched(file))
  const seen = isTouched('bystander') ? [`${name}: the bystander`] : []
  return [...unseen.map((file) => `${name}: ${file === '' ? 'the directory' : file}`), ...seen]
}
