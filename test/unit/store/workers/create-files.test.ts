import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import type { NewFile } from '../../../../agent/store/workers/contract.ts'
import { errnoOf } from '../../../../agent/sys/failure.ts'
import { heldDirectory, KIB, pool, poolDirectory, sha256Of, smallDisk } from './fixture.ts'

const PLAIN = { mode: 0o644, uid: 0, gid: 0, mtimeNs: 1_700_000_000_123_456_789n }

/** Files with their contents put together, as a batch brings them. */
function batch(files: readonly (Partial<NewFile> & { name: string; content: Buffer })[]): [NewFile[], Buffer] {
  let offset = 0
  const described = files.map(({ content, ...more }) => {
    const file = { ...PLAIN, hash: sha256Of(content), offset, sizeBytes: content.length, ...more }
    offset += content.length
    return file
  })
  return [described, Buffer.concat(files.map(({ content }) => content))]
}

test('files are made with content, owner, mode and time', async (t) => {
  const directory = poolDirectory(t)
  const [files, payload] = batch([
    { name: 'plain', content: randomBytes(5 * KIB) },
    { name: 'empty', content: Buffer.alloc(0), mode: 0 },
    { name: 'beyond-the-umask', content: Buffer.from('x'), mode: 0o666 },
    { name: 'sticky', content: Buffer.from('x'), mode: 0o1644 },
    { name: 'suid', content: Buffer.from('x'), mode: 0o6751, uid: 4_000_000_000, gid: 70_000, mtimeNs: -1n },
    { name: 'later', content: Buffer.from('y'), mtimeNs: 9_999_999_999_999_999_999n },
    { name: 'caf\xc3\xa9\xff', content: Buffer.from('z') },
  ])
  t.deepEqual(
    [...(await pool(t).createFiles(heldDirectory(t, directory), files, Buffer.from(payload)))],
    files.map(() => 0),
  )
  for (const { name, mode, uid, gid, mtimeNs, offset, sizeBytes } of files) {
    const path = Buffer.concat([Buffer.from(`${directory}/`), Buffer.from(name, 'latin1')])
    const stat = lstatSync(path, { bigint: true })
    t.deepEqual([stat.mode & 0o7777n, stat.uid, stat.gid], [BigInt(mode), BigInt(uid), BigInt(gid)], name)
    t.is(stat.mtimeNs, mtimeNs, name)
    t.true(readFileSync(path).equals(payload.subarray(offset, offset + sizeBytes)), name)
  }
})

test('owner and mode are as said also where the directory passes on its group and an ACL', async (t) => {
  const directory = poolDirectory(t)
  chownSync(directory, 0, 1234)
  chmodSync(directory, 0o2755)
  execFileSync('setfacl', ['-d', '-m', 'u::r', directory])
  const [files, payload] = batch([{ name: 'file', content: Buffer.from('x'), mode: 0o666 }])
  t.deepEqual([...(await pool(t).createFiles(heldDirectory(t, directory), files, payload))], [0])
  const { gid, mode } = statSync(join(directory, 'file'))
  t.deepEqual([gid, mode & 0o7777], [0, 0o666])
})

test('content that is not what was said is not written, and harms no other file', async (t) => {
  const directory = poolDirectory(t)
  const [files, payload] = batch([
    { name: 'wrong', content: Buffer.from('this'), hash: sha256Of(Buffer.from('that')) },
    { name: 'beyond', content: Buffer.from('x'), offset: 1000 },
    { name: 'right', content: Buffer.from('x') },
  ])
  t.deepEqual([...(await pool(t).createFiles(heldDirectory(t, directory), files, payload))], [1, 1, 0])
  t.deepEqual(readdirSync(directory), ['right'])
})

test('an older file or symlink of the name is replaced, never written through; a directory stays', async (t) => {
  const directory = poolDirectory(t)
  const outside = join(poolDirectory(t), 'outside')
  writeFileSync(outside, 'outside')
  writeFileSync(join(directory, 'old'), 'old')
  linkSync(outside, join(directory, 'linked'))
  symlinkSync(outside, join(directory, 'symlink'))
  mkdirSync(join(directory, 'dir'))
  const content = Buffer.from('new')
  const [files, payload] = batch(['old', 'linked', 'symlink', 'dir', 'a/b'].map((name) => ({ name, content })))
  const outcomes = await pool(t).createFiles(heldDirectory(t, directory), files, payload)
  t.deepEqual([...outcomes], [0, 0, 0, constants.errno.EISDIR, constants.errno.EINVAL])
  for (const name of ['old', 'linked', 'symlink']) {
    t.true(lstatSync(join(directory, name)).isFile())
    t.is(readFileSync(join(directory, name), 'utf8'), 'new')
  }
  t.is(readFileSync(outside, 'utf8'), 'outside')
})

test('a full disk rejects with ENOSPC and leaves no half file', async (t) => {
  const directory = smallDisk(t, 256)
  const content = randomBytes(60 * KIB)
  const [files, payload] = batch(Array.from({ length: 8 }, (_, i) => ({ name: `f${i}`, content })))
  const error = await t.throwsAsync(pool(t).createFiles(heldDirectory(t, directory), files, payload))
  t.is(errnoOf(error), 'ENOSPC')
  const made = readdirSync(directory)
  t.true(made.length > 0 && made.length < 8)
  for (const name of made) t.is(statSync(join(directory, name)).size, content.length, name)
})
