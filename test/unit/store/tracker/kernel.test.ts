import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, fstatSync, fsyncSync, mkdirSync, openSync, statSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { InodeTracker } from '../../../../agent/store/tracker/inode-tracker.ts'
import { openKernelPart } from '../../../../agent/store/tracker/kernel-part.ts'
import { selfTest } from '../../../../agent/store/tracker/self-test.ts'
import { openTracker } from '../../../../agent/store/tracker/tracker.ts'
import { fileSystem } from '../file-systems.ts'
import { buildObject, mustOpen, OBJECT, openTracked, scratchDirectory } from './fixture.ts'
import { tells } from './rounds.ts'

const BLOCK = 16_384
const IN_FLIGHT = new URL('../../../fixtures/direct-in-flight.py', import.meta.url).pathname
const TRACKER = new URL('../../../../agent/store/tracker/tracker.ts', import.meta.url).pathname

function reasonFor(directory: string, object = buildObject()): string {
  const opened = openTracker(directory, object)
  if ('reason' in opened) return opened.reason
  opened.tracker[Symbol.dispose]()
  return ''
}

/** Stores one byte through a mapping. */
function store(path: string, offset: number): void {
  const code = 'import mmap,sys; f=open(sys.argv[1],"r+b"); m=mmap.mmap(f.fileno(),0); m[int(sys.argv[2])]=7'
  execFileSync('python3', ['-c', code, path, String(offset)])
}

test.serial('btrfs and tmpfs have no tracker', (t) => {
  t.regex(reasonFor(fileSystem(t, 'btrfs')), /The file system is btrfs/)
  t.regex(reasonFor('/dev/shm'), /The file system is tmpfs/)
})

test.serial('ext4 with data=journal has none', (t) => {
  t.regex(reasonFor(fileSystem(t, 'ext4', { mountOptions: ['data=journal'] })), /data=journal/)
})

test.serial(
  'ext4 that keeps small files in their inodes has none: the self-test sees that writes to them go unseen',
  (t) => {
    const root = fileSystem(t, 'ext4', { mkfs: ['-O', 'inline_data'] })
    t.regex(reasonFor(root), /did not see a write to a small file/)
  },
)

test.serial('ext4 without a journal, with small blocks, and without extents has one', (t) => {
  t.is(reasonFor(fileSystem(t, 'ext4', { mkfs: ['-O', '^has_journal'] })), '')
  t.is(reasonFor(fileSystem(t, 'ext4', { mkfs: ['-b', '1024', '-O', '^extents,^64bit,^metadata_csum'] })), '')
})

test.serial('a missing object, one that is none, and a directory that is not there are reasons', (t) => {
  const root = fileSystem(t, 'ext4')
  t.regex(reasonFor(root, '/nowhere/dirty.bpf.o'), /was not built/)
  const wrong = join(scratchDirectory(t), 'wrong.o')
  writeFileSync(wrong, 'no object')
  t.regex(reasonFor(root, wrong), /could not be started: opening the BPF object of .*wrong.o failed/)
  t.regex(reasonFor(join(root, 'missing')), /could not be started: ENOENT/)
})

test.serial('CAP_SYS_ADMIN alone is enough; without it the kernel refuses, and that is a reason', (t) => {
  const root = fileSystem(t, 'ext4')
  buildObject()
  mkdirSync(join(root, 'tree'))
  writeFileSync(join(root, 'tree/file'), 'x')
  const run = (capabilities: string) => {
    const set = `--bounding-set=-all${capabilities},+dac_override`
    const opened = `import { openTracker } from ${JSON.stringify(TRACKER)}
      const opened = openTracker(${JSON.stringify(root)}, ${JSON.stringify(OBJECT)})
      console.log('reason' in opened ? opened.reason : 'works'); process.exit()`
    const args = [set, process.execPath, '--input-type=module', '-e', opened]
    return execFileSync('setpriv', args, { encoding: 'utf8' }).trim()
  }
  t.is(run(',+sys_admin'), 'works')
  t.regex(run(''), /could not be started: .* failed: EPERM/)
})

for (const kind of ['ext4', 'xfs'] as const) {
  test.serial(`${kind}: one store to a large folio is told with all its blocks`, (t) => {
    const { tracker, directory } = openTracked(t, kind)
    const path = join(directory, 'large')
    writeFileSync(path, Buffer.alloc(8 << 20, 'x'))
    execFileSync('sync', ['-f', path])
    const inode = statSync(path, { bigint: true }).ino
    tracker.watch('v', [inode])
    const cut = tracker.cut()
    store(path, (4 << 20) + 5)
    tracker.cut()
    const changes = tracker.changes(inode, cut)
    t.true(tells(changes, 4 << 20))
    t.true(Array.isArray(changes) && changes.length === 1 && changes[0].length > BLOCK, JSON.stringify(changes))
  })

  test.serial(
    `${kind}: inodes that nobody watches, and those of another file system, cost nothing and say nothing`,
    (t) => {
      const { tracker, directory } = openTracked(t, kind)
      const strange = fileSystem(t, kind)
      // The same numbers on two file systems made alike.
      const paths = [join(directory, 'watched'), join(directory, 'not'), join(strange, 'watched'), join(strange, 'not')]
      for (const path of paths) writeFileSync(path, 'before')
      const [watched = 0n] = paths.map((path) => statSync(path, { bigint: true }).ino)
      const everywhere = Array.from({ length: 300 }, (_, index) => BigInt(index)).filter((inode) => inode !== watched)
      tracker.watch('v', [watched])
      const cut = tracker.cut()
      for (const path of paths.slice(1)) writeFileSync(path, 'after that')
      tracker.cut()
      t.is(tracker.stats.drainedBlocks, 0)
      tracker.watch('v', [watched, ...everywhere])
      tracker.cut()
      for (const path of paths.slice(2)) writeFileSync(path, 'and then')
      tracker.cut()
      t.is(tracker.stats.drainedBlocks, 0)
      t.deepEqual(tracker.changes(watched, cut), [])
    },
  )

  test.serial(`${kind}: an inode that leaves memory, its file still there, has not changed`, (t) => {
    const { tracker, directory } = openTracked(t, kind)
    const path = join(directory, 'file')
    writeFileSync(path, Buffer.alloc(BLOCK, 'x'))
    execFileSync('sync', ['-f', path])
    const inode = statSync(path, { bigint: true }).ino
    tracker.watch('v', [inode])
    const cut = tracker.cut()
    execFileSync('sh', ['-c', 'echo 2 >/proc/sys/vm/drop_caches'])
    tracker.cut()
    t.deepEqual(tracker.changes(inode, cut), [])
    // And the number of one that is gone is anybody's.
    execFileSync('rm', [path])
    tracker.cut()
    t.is(tracker.changes(inode, cut), 'all')
  })
}

test.serial('more changes than the kernel has room for count as lost, and then the tracker cannot say', (t) => {
  const root = fileSystem(t, 'xfs')
  const { dev } = statSync(root)
  const [major, minor] = [dev >> 8, dev & 0xff]
  const settings = { fileSystem: 'xfs', major, minor, dropEvery: 0, dirtyBlocksMax: 512, has: () => true } as const
  using tracker = new InodeTracker(openKernelPart(buildObject(), settings), { tellsTouched: true })
  const fd = openSync(join(root, 'sparse'), 'w')
  const inode = fstatSync(fd, { bigint: true }).ino
  const write = (block: number) => writeSync(fd, 'x', block * BLOCK)
  tracker.watch('v', [inode])
  const cut = tracker.cut()
  for (let block = 0; block < 400; block += 1) write(block)
  const fitting = tracker.cut()
  t.is(tracker.stats.losses, 0)
  t.deepEqual(tracker.changes(inode, cut), [{ offset: 0, length: 400 * BLOCK }])
  fsyncSync(fd)
  for (let block = 0; block < 2_000; block += 1) write(block)
  const losing = tracker.cut()
  t.is(tracker.stats.losses, 1)
  t.is(tracker.changes(inode, fitting), null)
  t.is(tracker.touched(fitting), null)
  t.regex(tracker.lossSince(fitting) ?? '', /could not report \d+ changes \(E2BIG\)/)
  t.is(tracker.lossSince(losing), null)
  fsyncSync(fd)
  write(5)
  tracker.cut()
  t.deepEqual(tracker.changes(inode, losing), [{ offset: 5 * BLOCK, length: BLOCK }])
  closeSync(fd)
})

for (const kind of ['ext4', 'xfs'] as const) {
  test.serial(`${kind}: a direct write that lands after a look at the file is told again`, async (t) => {
    // A disk that stops when the file system is frozen that its image lies on.
    const outer = fileSystem(t, 'ext4', { inMemory: true })
    const [image, inner] = [join(outer, 'image'), join(outer, 'inner')]
    mkdirSync(inner)
    execFileSync('truncate', ['-s', '400M', image])
    execFileSync(`mkfs.${kind}`, ['-q', kind === 'xfs' ? '-f' : '-F', image])
    execFileSync('mount', ['-o', 'loop', image, inner])
    const path = join(inner, 'file')
    writeFileSync(path, Buffer.alloc(4 * BLOCK, 'x'))
    execFileSync('sync', ['-f', path])
    const inode = statSync(path, { bigint: true }).ino
    using tracker = mustOpen(inner)
    tracker.watch('v', [inode])
    const before = tracker.cut()
    execFileSync('fsfreeze', ['--freeze', outer])
    let frozen = true
    const thaw = () => {
      if (frozen) execFileSync('fsfreeze', ['--unfreeze', outer])
      frozen = false
    }
    try {
      const writer = spawn('python3', [IN_FLIGHT, path, String(2 * BLOCK)], { stdio: ['ignore', 'pipe', 'inherit'] })
      await once(writer.stdout, 'data')
      const looking = tracker.cut()
      t.deepEqual(tracker.changes(inode, before), [{ offset: 2 * BLOCK, length: BLOCK }])
      const meanwhile = tracker.cut()
      t.deepEqual(tracker.changes(inode, looking), [])
      thaw()
      await once(writer, 'exit')
      tracker.cut()
      t.deepEqual(tracker.changes(inode, meanwhile), [{ offset: 2 * BLOCK, length: BLOCK }])
    } finally {
      thaw()
    }
  })
}

test.serial('the self-test finds a program that sees nothing', (t) => {
  const root = fileSystem(t, 'ext4')
  const { dev } = statSync(root)
  // Of a device that is not this one.
  const other = {
    fileSystem: 'ext4',
    major: dev >> 8,
    minor: (dev & 0xff) + 100,
    dropEvery: 0,
    has: () => true,
  } as const
  using kernel = openKernelPart(buildObject(), other)
  t.is(selfTest(kernel, root), 'a write to a small file')
})
