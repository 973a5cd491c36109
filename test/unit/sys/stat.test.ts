import { execFileSync } from 'node:child_process'
import {
  closeSync,
  constants,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { setMtime } from '../../../agent/sys/attributes.ts'
import { errnoOf } from '../../../agent/sys/failure.ts'
import { O_PATH } from '../../../agent/sys/open.ts'
import { ATTRIBUTE_APPEND, ATTRIBUTE_IMMUTABLE, ATTRIBUTE_NODUMP, StatBuffer, statAt } from '../../../agent/sys/stat.ts'

function held(t: ExecutionContext): { directory: string; fd: number } {
  const directory = mkdtempSync(join(tmpdir(), 'wherry-stat-'))
  const fd = openSync(directory, O_PATH | constants.O_DIRECTORY)
  t.teardown(() => {
    closeSync(fd)
    rmSync(directory, { recursive: true, force: true })
  })
  return { directory, fd }
}

test('every kind of inode is seen as lstat sees it, to the last bit', (t) => {
  const { directory, fd } = held(t)
  writeFileSync(join(directory, 'file'), 'x'.repeat(5000))
  mkdirSync(join(directory, 'dir'))
  symlinkSync('nowhere', join(directory, 'symlink'))
  execFileSync(
    'sh',
    [
      '-c',
      `mkfifo fifo; mknod char c 300 70000; mknod block b 8 1; truncate -s 5T sparse; ln file other
       chmod 6751 file; chown 4000000000:7 file
       touch -d '1901-01-01 00:00:00.000000001 UTC' sparse; touch -d '2100-06-01 12:00:00.987654321 UTC' dir`,
    ],
    { cwd: directory },
  )
  setMtime(Buffer.from(join(directory, 'symlink')), -5_000_000_001n)
  const seen = new StatBuffer()
  for (const name of ['file', 'dir', 'symlink', 'fifo', 'char', 'block', 'sparse', '']) {
    statAt(fd, name, seen)
    const known = lstatSync(join(directory, name), { bigint: true })
    t.deepEqual(
      {
        ino: seen.ino,
        halves: BigInt(seen.inoLow) + (BigInt(seen.inoHigh) << 32n),
        mode: BigInt(seen.modeAndType),
        permissions: BigInt(seen.mode),
        owner: [BigInt(seen.uid), BigInt(seen.gid)],
        nlink: BigInt(seen.nlink),
        size: BigInt(seen.sizeBytes),
        blocks: BigInt(seen.blocks),
        ctime: seen.ctimeNs(),
        mtime: seen.mtimeNs(),
        rdev: makeDevice(seen.rdevMajor, seen.rdevMinor),
        dev: makeDevice(seen.devMajor, seen.devMinor),
      },
      {
        ino: known.ino,
        halves: known.ino,
        mode: known.mode,
        permissions: known.mode & 0o7777n,
        owner: [known.uid, known.gid],
        nlink: known.nlink,
        size: known.size,
        blocks: known.blocks,
        ctime: known.ctimeNs,
        mtime: known.mtimeNs,
        rdev: known.rdev,
        dev: known.dev,
      },
      name,
    )
    t.is(seen.kind, name === '' ? 'dir' : name === 'sparse' ? 'file' : (name as typeof seen.kind))
  }
})

/** glibc's gnu_dev_makedev. */
function makeDevice(major: number, minor: number): bigint {
  const [a, b] = [BigInt(major), BigInt(minor)]
  return ((a & 0xfffff000n) << 32n) | ((a & 0xfffn) << 8n) | ((b & 0xffffff00n) << 12n) | (b & 0xffn)
}

test('names are bytes, and only names', (t) => {
  const { directory, fd } = held(t)
  const odd = Buffer.from([0xff, 0x0a, 0xc3, 0x28, 0x80])
  writeFileSync(Buffer.concat([Buffer.from(`${directory}/`), odd]), 'odd')
  const long = 'n'.repeat(255)
  writeFileSync(join(directory, long), 'longest')
  const seen = new StatBuffer()
  statAt(fd, odd.toString('latin1'), seen)
  t.is(seen.sizeBytes, 3)
  statAt(fd, long, seen)
  t.is(seen.sizeBytes, 7)
  for (const [name, errno] of [
    ['gone', 'ENOENT'],
    [`${long}n`, 'ENAMETOOLONG'],
    ['..', 'EINVAL'],
    ['a/b', 'EINVAL'],
    ['/etc', 'EINVAL'],
    ['a\0b', 'EINVAL'],
    ['\u0100', 'EINVAL'],
  ] as const) {
    t.is(errnoOf(t.throws(() => statAt(fd, name, seen))), errno, name)
  }
})

test('an open file of any kind is seen by its descriptor alone', (t) => {
  const { directory, fd } = held(t)
  symlinkSync('nowhere', join(directory, 'link'))
  const link = openSync(join(directory, 'link'), O_PATH | constants.O_NOFOLLOW)
  t.teardown(() => closeSync(link))
  const [byName, byDescriptor] = [new StatBuffer(), new StatBuffer()]
  statAt(fd, 'link', byName)
  statAt(link, '', byDescriptor)
  t.is(byDescriptor.kind, 'symlink')
  t.is(byDescriptor.ino, byName.ino)
})

test('immutable, append-only and nodump show in the attributes', (t) => {
  const { directory, fd } = held(t)
  const path = join(directory, 'file')
  writeFileSync(path, '')
  const seen = new StatBuffer()
  const all = ATTRIBUTE_IMMUTABLE | ATTRIBUTE_APPEND | ATTRIBUTE_NODUMP
  for (const [flag, expected] of [
    ['+i', ATTRIBUTE_IMMUTABLE],
    ['+a', ATTRIBUTE_APPEND],
    ['+d', ATTRIBUTE_NODUMP],
  ] as const) {
    execFileSync('chattr', [flag, path])
    statAt(fd, 'file', seen)
    execFileSync('chattr', [flag.replace('+', '-'), path])
    t.is(seen.attributes & all, expected)
    t.is(seen.attributesKnown & all, all)
  }
})
