import { execFileSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { getXattr, listXattrs, removeXattr, setMtime, setXattr } from '../../../agent/sys/attributes.ts'
import { errnoOf } from '../../../agent/sys/failure.ts'
import { lockFile, nextData, nextHole, syncFileSystem } from '../../../agent/sys/files.ts'
import { bindMount, unmount } from '../../../agent/sys/mounts.ts'

function scratch(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'wherry-sys-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

test('times are exact to the nanosecond, before 1970 too, and of the symlink itself', (t) => {
  const directory = scratch(t)
  execFileSync('sh', ['-c', 'echo x > file; ln -s file link'], { cwd: directory })
  for (const [name, mtimeNs, shown] of [
    ['file', -1n, '-1.999999999'],
    ['file', -5_000_000_001n, '-6.999999999'],
    ['link', 1_234_567_890_123_456_789n, '1234567890.123456789'],
  ] as const) {
    setMtime(Buffer.from(join(directory, name)), mtimeNs)
    const seconds = execFileSync('find', [name, '-printf', '%T@'], { cwd: directory, encoding: 'utf8' })
    const ns = BigInt(execFileSync('stat', ['-c', '%Y', name], { cwd: directory, encoding: 'utf8' }).trim())
    t.is(`${ns}.${seconds.split('.')[1]?.slice(0, 9)}`, shown)
  }
})

test('extended attributes: set, list, read, remove', (t) => {
  const path = Buffer.from(join(scratch(t), 'file'))
  writeFileSync(path, '')
  t.deepEqual(listXattrs(path), [])
  setXattr(path, 'user.a', Buffer.from([0, 255, 10]))
  setXattr(path, 'user.b', Buffer.alloc(0))
  t.deepEqual(listXattrs(path).sort(), ['user.a', 'user.b'])
  t.deepEqual(getXattr(path, 'user.a'), Buffer.from([0, 255, 10]))
  t.is(getXattr(path, 'user.b').length, 0)
  removeXattr(path, 'user.a')
  t.is(errnoOf(t.throws(() => getXattr(path, 'user.a'))), 'ENODATA')
})

test('data and holes are found, also beyond 4 GiB', (t) => {
  const directory = scratch(t)
  execFileSync('sh', ['-c', 'truncate -s 6G f; printf x | dd of=f bs=1 seek=5G conv=notrunc'], {
    cwd: directory,
    stdio: 'ignore',
  })
  const fd = openSync(join(directory, 'f'), 'r')
  t.teardown(() => closeSync(fd))
  const offset = 5 * 1024 ** 3
  t.is(nextData(fd, 0), offset)
  t.is(nextHole(fd, offset), offset + statSync(join(directory, 'f')).blksize)
  t.is(nextData(fd, offset + 1024 ** 2), null)
})

test('a failed call carries errno, call and path, made at once or on a thread', async (t) => {
  const gone = join(scratch(t), 'gone')
  const now = t.throws(() => setXattr(Buffer.from(gone), 'user.a', Buffer.alloc(0)), { code: 'SYSTEM_CALL_FAILED' })
  t.is(errnoOf(now), 'ENOENT')
  t.regex(now?.message ?? '', /lsetxattr of .*gone failed: ENOENT/)
  for (const [call, errno] of [
    [() => bindMount(gone, gone), 'ENOENT'],
    [() => unmount('/proc/self'), 'EINVAL'],
    [() => syncFileSystem(9999, 'nothing'), 'EBADF'],
  ] as const) {
    t.is(errnoOf(await t.throwsAsync(call())), errno)
  }
})

test('a lock is held by one at a time and given back', (t) => {
  const path = join(scratch(t), 'lock')
  const first = lockFile(path)
  t.truthy(first)
  t.is(lockFile(path), null)
  first?.[Symbol.dispose]()
  first?.[Symbol.dispose]()
  const second = lockFile(path)
  t.truthy(second)
  second?.[Symbol.dispose]()
})
