import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import test, { type ExecutionContext } from 'ava'
import { codeOf } from '../../../agent/model/errors.ts'
import { newVolume, storeHost } from './fixture.ts'
import { HERE, runShell } from './shell.ts'

/** A mounted volume, and a directory to which its tree may be mounted as well. */
async function mounted(t: ExecutionContext) {
  const { store, stateDir, data } = await storeHost(t)
  const one = newVolume()
  await store.create(one)
  mkdirSync(join(data(one.id), 'sub'))
  writeFileSync(join(data(one.id), 'sub', 'log'), 'hello')
  // Mounts of other namespaces are not to come here, nor the other way round.
  execFileSync('mount', ['--bind', stateDir, stateDir])
  execFileSync('mount', ['--make-rprivate', stateDir])
  t.teardown(() => execFileSync('umount', ['-R', '-l', stateDir]))
  const other = join(stateDir, 'other')
  mkdirSync(other)
  return { store, one, path: await store.mount(one.id), data: data(one.id), other }
}

/** A mount namespace of its own; what is mounted and unmounted elsewhere from then on does not come there. */
const PRIVATE = ['unshare', '--mount', '--propagation', 'private', 'bash', '-c']
/** A mapping of a file whose descriptor is closed. */
const MAP = `import mmap, subprocess, sys
with open(sys.argv[1] + "/sub/log", "r+b") as file: mapped = mmap.mmap(file.fileno(), 0)
subprocess.run(["umount", "-l", sys.argv[1]])
print("ready", flush=True)
input()`

type Given = Awaited<ReturnType<typeof mounted>>
const WRITERS: Readonly<Record<string, (given: Given) => { before: string; command?: readonly string[] }>> = {
  'a bind of the mount': ({ path, other }) => ({ before: `mount --bind ${path} ${other}; exec 9>>${other}/sub/log` }),
  'a bind of a directory in it': ({ path, other }) => ({
    before: `mount --bind ${path}/sub ${other}; exec 9>>${other}/log`,
  }),
  'a mount namespace that keeps its own copy': ({ path }) => ({
    before: `exec 9>>${path}/sub/log`,
    command: PRIVATE,
  }),
  'a mount that is in no namespace any more': ({ path, other }) => ({
    before: `mount --bind ${path} ${other}; exec 9>>${other}/sub/log; umount -l ${other}`,
  }),
  'a working directory there': ({ path, other }) => ({
    before: `mount --bind ${path} ${other}; cd ${other}/sub; umount -l ${other}`,
  }),
  'a working directory that is the root there': ({ path, other }) => ({
    before: `mount --bind ${path} ${other}; cd ${other}; umount -l ${other}`,
  }),
  'a directory that is open there': ({ path, other }) => ({
    before: `mount --bind ${path} ${other}; exec 9<${other}/sub; umount -l ${other}`,
  }),
  'a file that is mapped there': ({ path, other }) => ({
    before: `mount --bind ${path} ${other}; exec python3 -c '${MAP}' ${other}`,
  }),
  'the directory below the state directory': ({ data }) => ({ before: `exec 9>>${data}/sub/log` }),
  'a mount that another one covers': ({ path, other }) => ({
    before: `mount --bind ${path} ${other}; mount -t tmpfs none ${other}`,
  }),
}

for (const [where, writer] of Object.entries(WRITERS)) {
  test.serial(`a volume is not let go while there may be a writer through ${where}`, async (t) => {
    const given = await mounted(t)
    const { before, command } = writer(given)
    const child = await runShell(t, command ?? HERE, before)
    const error = await t.throwsAsync(given.store.unmount(given.one.id))
    t.is(codeOf(error), 'VOLUME_BUSY')
    t.regex(
      error?.message ?? '',
      where.includes('covers') ? /mount .*other, below another one/ : /process \d+ \(.*\) can write/,
    )
    child.kill('SIGKILL')
    await once(child, 'exit')
    if (where.includes('covers')) execFileSync('umount', [given.other])
    await given.store.unmount(given.one.id)
    t.false((await given.store.mounted()).has(given.one.id))
  })
}

for (const [where, before, command] of [
  ['a bind of the mount', 'mount --bind PATH OTHER; cd OTHER; exec 8<OTHER/sub/log', HERE],
  ['a mount namespace that keeps its own copy', 'cd PATH; exec 8<PATH/sub/log', PRIVATE],
] as const) {
  test.serial(`nobody writes any more through ${where} once the volume was let go; who reads goes on`, async (t) => {
    const { store, one, path, data, other } = await mounted(t)
    const script = before.replaceAll('PATH', path).replaceAll('OTHER', other)
    const after = '{ : > new; } 2> /dev/null && echo wrote || echo refused; cat <&8'
    const child = await runShell(t, command, script, after)
    await store.unmount(one.id)
    child.stdin.end('\n')
    t.is(await text(child.stdout), 'refused\nhello')
    t.false(existsSync(join(data, 'new')))
    await store.mount(one.id)
    writeFileSync(join(path, 'more'), 'x')
    t.is(readFileSync(join(data, 'more'), 'utf8'), 'x', 'the next mount can be written to')
    await store.unmount(one.id)
  })
}

test.serial(
  'files of other trees on the same file system, and those that have no name any more, hold nothing up',
  async (t) => {
    const { store, one, path, data, other } = await mounted(t)
    const before = `mkdir ${other}/sub; exec 7>>${other}/sub/log; cd ${other}/sub; mount --bind ${path} ${other}
    exec 8<${path}/sub/log; : > ${data}/gone; exec 9>>${data}/gone; rm ${data}/gone; umount ${other}`
    const child = await runShell(t, HERE, before, 'exec 8>&-')
    await store.unmount(one.id)
    t.false((await store.mounted()).has(one.id))
    child.stdin.end('\n')
    await once(child, 'exit')
  },
)

test.serial('a monitor with a copy of all mounts, some of them covered by others, keeps no volume', async (t) => {
  const { store, one, path, other } = await mounted(t)
  const stateDir = join(other, '..')
  // As docker run -v /:/rootfs -v /var/lib/docker:/rootfs/var/lib/docker makes them.
  const mounts = `mount --rbind ${stateDir} ${other}; mount --rbind ${stateDir}/mnt ${other}/mnt`
  const child = await runShell(t, PRIVATE, mounts)
  const copies = () => readFileSync(`/proc/${child.pid}/mountinfo`, 'utf8').split(`/${one.id} `).length - 1
  t.is(copies(), 3)
  await store.unmount(one.id)
  t.false((await store.mounted()).has(one.id))
  t.false(existsSync(path))
  t.is(copies(), 0)
})

test.serial('a mount below one that was made later is reached all the same, if it lies in that one', async (t) => {
  const { store, one, path, data, other } = await mounted(t)
  // The kernel lists the inner mount, which is moved, before the outer one.
  for (const name of ['outer', 'inner']) mkdirSync(join(other, name))
  execFileSync('mount', ['--bind', path, join(other, 'inner')])
  execFileSync('mount', ['-t', 'tmpfs', 'none', join(other, 'outer')])
  mkdirSync(join(other, 'outer', 'moved'))
  execFileSync('mount', ['--move', join(other, 'inner'), join(other, 'outer', 'moved')])
  await store.unmount(one.id)
  t.throws(() => writeFileSync(join(other, 'outer', 'moved', 'new'), 'x'), { code: 'EROFS' })
  t.false(existsSync(join(data, 'new')))
})
