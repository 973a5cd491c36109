import { execFileSync } from 'node:child_process'
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { getXattrAt, listXattrsAt, setTimes, setXattr } from '../../../agent/sys/attributes.ts'
import { errnoOf } from '../../../agent/sys/failure.ts'
import { fileSystemOf } from '../../../agent/sys/file-system.ts'
import { nextData, nextHole, punchHole, startWriteback } from '../../../agent/sys/files.ts'
import { FLAG_IMMUTABLE, FLAG_NOCOW, FLAG_NODUMP, getFlags, setFlags } from '../../../agent/sys/flags.ts'
import { O_PATH, openAt, openDirectoryBelow, unlinkAt } from '../../../agent/sys/open.ts'

const { O_CREAT, O_DIRECTORY, O_EXCL, O_RDONLY, O_WRONLY } = constants

function scratch(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'wherry-sys-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

function held(t: ExecutionContext, path: string, flags = 'r' as string | number): number {
  const fd = openSync(path, flags)
  t.teardown(() => closeSync(fd))
  return fd
}

test('a directory far below a held one is opened in one go, never through a symlink', (t) => {
  const directory = scratch(t)
  mkdirSync(join(directory, 'a', 'b', 'c'), { recursive: true })
  writeFileSync(join(directory, 'a', 'file'), '')
  symlinkSync('a', join(directory, 'link'))
  const at = held(t, directory, O_PATH | O_DIRECTORY)
  const below = (...names: string[]) => {
    const fd = openDirectoryBelow(at, names)
    const { ino } = fstatSync(fd)
    closeSync(fd)
    return ino
  }
  t.is(below('a', 'b', 'c'), statSync(join(directory, 'a', 'b', 'c')).ino)
  t.is(below(), statSync(directory).ino)
  for (const [names, errno] of [
    [['link'], 'ELOOP'],
    [['link', 'b'], 'ELOOP'],
    [['a', 'file'], 'ENOTDIR'],
    [['a', 'none', 'c'], 'ENOENT'],
    [['a', '..', '..'], 'EINVAL'],
    [['a', '..'], 'EINVAL'],
    [['a/b'], 'EINVAL'],
    [[''], 'EINVAL'],
  ] as const) {
    t.is(errnoOf(t.throws(() => below(...names))), errno, names.join(' '))
  }
})

test('files are opened within a held directory, never through a symlink, and closed on exec', (t) => {
  const directory = scratch(t)
  writeFileSync(join(directory, 'file'), 'content')
  mkdirSync(join(directory, 'dir'))
  symlinkSync('file', join(directory, 'link'))
  symlinkSync('dir', join(directory, 'linked-dir'))
  const at = held(t, directory, O_PATH | O_DIRECTORY)
  const fd = openAt(at, 'file', O_RDONLY)
  t.is(readFileSync(fd, 'latin1'), 'content')
  t.regex(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'), /flags:\s+0?[0-7]*2[0-7]{6}\n/, 'O_CLOEXEC, 02000000')
  closeSync(fd)
  t.is(errnoOf(t.throws(() => openAt(at, 'link', O_RDONLY))), 'ELOOP')
  t.is(errnoOf(t.throws(() => openAt(at, 'linked-dir', O_PATH | O_DIRECTORY))), 'ENOTDIR')
  t.is(errnoOf(t.throws(() => openAt(at, '..', O_RDONLY))), 'EINVAL')
  t.is(errnoOf(t.throws(() => openAt(at, 'dir/../file', O_RDONLY))), 'EINVAL')
  const made = openAt(at, 'made', O_CREAT | O_EXCL | O_WRONLY, 0o640)
  t.is(fstatSync(made).mode & 0o7777, 0o640 & ~process.umask())
  closeSync(made)
  t.is(errnoOf(t.throws(() => openAt(at, 'made', O_CREAT | O_EXCL | O_WRONLY, 0o600))), 'EEXIST')
  unlinkAt(at, 'made')
  t.false(existsSync(join(directory, 'made')))
  t.is(errnoOf(t.throws(() => unlinkAt(at, 'made'))), 'ENOENT')
  t.is(errnoOf(t.throws(() => unlinkAt(at, 'dir'))), 'EISDIR')
})

test('extended attributes are listed and read by name in a held directory, a symlink not followed', (t) => {
  const directory = scratch(t)
  writeFileSync(join(directory, 'file'), '')
  symlinkSync('file', join(directory, 'link'))
  setXattr(Buffer.from(join(directory, 'file')), 'user.a', Buffer.from([0, 255]))
  setXattr(Buffer.from(directory), 'user.d', Buffer.alloc(0))
  const at = held(t, directory, O_PATH | O_DIRECTORY)
  t.deepEqual(listXattrsAt(at, 'file'), ['user.a'])
  t.deepEqual(getXattrAt(at, 'file', 'user.a'), Buffer.from([0, 255]))
  t.deepEqual(listXattrsAt(at, 'link'), [])
  t.deepEqual(listXattrsAt(at, ''), ['user.d'])
  const proc = held(t, '/proc/self')
  t.deepEqual(listXattrsAt(proc, 'stat'), [], 'a file system without them')
  t.is(errnoOf(t.throws(() => listXattrsAt(at, 'gone'))), 'ENOENT')
  t.is(errnoOf(t.throws(() => getXattrAt(at, 'file', 'user.none'))), 'ENODATA')
})

test('a value answered stays what it was when the next one is read', (t) => {
  const path = join(scratch(t), 'file')
  writeFileSync(path, '')
  setXattr(Buffer.from(path), 'user.a', Buffer.from('first'))
  setXattr(Buffer.from(path), 'user.b', Buffer.from('second'))
  const at = held(t, join(path, '..'), O_PATH | O_DIRECTORY)
  const first = getXattrAt(at, 'file', 'user.a')
  getXattrAt(at, 'file', 'user.b')
  t.is(first.toString(), 'first')
})

test('long lists and long values of extended attributes come whole', (t) => {
  const directory = mkdtempSync('/dev/shm/wherry-sys-')
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const at = held(t, directory, O_PATH | O_DIRECTORY)
  const names = Array.from({ length: 30 }, (_, i) => `trusted.${'n'.repeat(200)}${i}`)
  const value = Buffer.alloc(20_000, 'value')
  for (const name of names) setXattr(Buffer.from(directory), name, value)
  t.deepEqual(listXattrsAt(at, '').sort(), names.sort())
  t.deepEqual(getXattrAt(at, '', names[7] ?? ''), value)
})

test('inode flags are read and set; a file system without them says so', (t) => {
  const directory = scratch(t)
  const path = join(directory, 'file')
  writeFileSync(path, '')
  const fd = held(t, path)
  const before = getFlags(fd) ?? t.fail()
  t.is(setFlags(fd, before | FLAG_NODUMP | FLAG_IMMUTABLE), before | FLAG_NODUMP | FLAG_IMMUTABLE)
  t.is(getFlags(fd), before | FLAG_NODUMP | FLAG_IMMUTABLE)
  t.is(setFlags(fd, before), before)
  t.regex(execFileSync('lsattr', [path], { encoding: 'utf8' }), /^[-e]+ /)
  const proc = held(t, '/proc/self/stat')
  t.is(getFlags(proc), undefined)
  t.is(setFlags(proc, FLAG_NODUMP), undefined)
  t.is(errnoOf(t.throws(() => getFlags(9999))), 'EBADF')
  const memory = held(t, '/dev/shm')
  t.is(setFlags(memory, FLAG_NOCOW), undefined, 'a flag that this file system does not know')
})

test('a punched range is a hole of zeros and the size stays', (t) => {
  const path = join(scratch(t), 'file')
  writeFileSync(path, Buffer.alloc(256 * 1024, 7))
  const fd = held(t, path, 'r+')
  punchHole(fd, 64 * 1024, 128 * 1024)
  t.is(nextHole(fd, 0), 64 * 1024)
  t.is(nextData(fd, 64 * 1024), 192 * 1024)
  t.is(statSync(path).size, 256 * 1024)
  t.true(
    readFileSync(path)
      .subarray(64 * 1024, 192 * 1024)
      .equals(Buffer.alloc(128 * 1024)),
  )
  ftruncateSync(fd, 8 * 1024 ** 3)
  writeSync(fd, 'far', 6 * 1024 ** 3)
  punchHole(fd, 6 * 1024 ** 3, 4096)
  t.is(nextData(fd, 1024 ** 3), null, 'beyond 4 GiB too')
  t.is(errnoOf(t.throws(() => punchHole(fd, 0, 0))), 'EINVAL')
})

test('writing out can be started for a range and answers errors of the descriptor', (t) => {
  const path = join(scratch(t), 'file')
  writeFileSync(path, Buffer.alloc(64 * 1024, 7))
  t.notThrows(() => startWriteback(held(t, path, 'r+'), 0, 64 * 1024))
  t.is(errnoOf(t.throws(() => startWriteback(9999, 0, 1))), 'EBADF')
})

test('times of an open file are exact to the nanosecond and leave the time of access', (t) => {
  const path = join(scratch(t), 'file')
  writeFileSync(path, '')
  const fd = held(t, path, 'r+')
  const { atimeNs } = fstatSync(fd, { bigint: true })
  for (const mtimeNs of [1_234_567_890_123_456_789n, -1n, 0n]) {
    setTimes(fd, mtimeNs)
    t.is(fstatSync(fd, { bigint: true }).mtimeNs, mtimeNs)
  }
  t.is(fstatSync(fd, { bigint: true }).atimeNs, atimeNs)
  t.is(errnoOf(t.throws(() => setTimes(9999, 0n))), 'EBADF')
})

test('the file system is named as the mount table names it', (t) => {
  t.is(fileSystemOf(held(t, '/dev/shm')), 'tmpfs')
  t.is(fileSystemOf(held(t, '/proc')), '0x9fa0')
  const directory = scratch(t)
  const mountpoint = join(directory, 'mounted')
  execFileSync('sh', ['-c', 'mkdir mounted; truncate -s 16M image; mkfs.ext4 -q image; mount -o loop image mounted'], {
    cwd: directory,
  })
  const fd = openSync(mountpoint, O_PATH)
  try {
    t.is(fileSystemOf(fd), 'ext4')
  } finally {
    closeSync(fd)
    execFileSync('umount', [mountpoint])
  }
})
