import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import test, { type ExecutionContext } from 'ava'
import { codeOf } from '../../../agent/model/errors.ts'
import { makeReadOnly } from '../../../agent/sys/read-only-mounts.ts'
import { findTreeUse } from '../../../agent/sys/tree-use.ts'
import { newVolume, storeHost } from './fixture.ts'
import { HERE, runShell } from './shell.ts'

const TREE_SCAN = new URL('../../../agent/sys/tree-scan.ts', import.meta.url).href

/** A mounted volume on a mount root that is shared with other mount namespaces, as Docker's propagated mounts are. */
async function mounted(t: ExecutionContext) {
  const { store, stateDir, data } = await storeHost(t)
  const one = newVolume()
  await store.create(one)
  writeFileSync(join(data(one.id), 'log'), 'hello')
  const root = join(stateDir, 'mnt')
  execFileSync('mount', ['--bind', root, root])
  execFileSync('mount', ['--make-shared', root])
  t.teardown(() => execFileSync('umount', ['-R', '-l', root]))
  return { store, one, stateDir, path: await store.mount(one.id), data: data(one.id) }
}

/** A mount namespace of its own, to which the mounts of this one come. */
const ELSEWHERE = ['unshare', '--mount', '--propagation', 'unchanged', 'bash', '-c']

for (const [where, command] of [
  ['this mount namespace', HERE],
  ['another mount namespace', ELSEWHERE],
] as const) {
  test.serial(
    `a mount that is only read in ${where} is unmounted, and nobody writes through what stays open`,
    async (t) => {
      const { store, one, path, data } = await mounted(t)
      const after = '{ : > new; } 2> /dev/null && echo wrote || echo refused; cat <&9'
      const reader = await runShell(t, command, `exec 9< ${path}/log; cd ${path}`, after)
      await store.unmount(one.id)
      t.false((await store.mounted()).has(one.id))
      t.false(existsSync(path))
      reader.stdin.end('\n')
      t.is(await text(reader.stdout), 'refused\nhello')
      t.false(existsSync(join(data, 'new')))
      await store.mount(one.id)
      writeFileSync(join(path, 'more'), 'x')
      t.is(readFileSync(join(data, 'more'), 'utf8'), 'x', 'the next mount can be written to')
      await store.unmount(one.id)
    },
  )

  test.serial(`a mount that is open for writing in ${where} stays, and who writes is named`, async (t) => {
    const { store, one, path } = await mounted(t)
    const writer = await runShell(t, command, `exec 9>> ${path}/log`)
    const error = await t.throwsAsync(store.unmount(one.id))
    t.is(codeOf(error), 'VOLUME_BUSY')
    t.true(error?.message.includes(path))
    t.regex(error?.message ?? '', /process \d+ \(bash\) can write/)
    t.true((await store.mounted()).has(one.id))
    writeFileSync(join(path, 'more'), 'it can still be written to')
    writer.kill('SIGKILL')
    await once(writer, 'exit')
    await store.unmount(one.id)
    t.false((await store.mounted()).has(one.id))
  })
}

test.serial('a reader beside a writer changes nothing: the mount can be written to', async (t) => {
  const { store, one, path } = await mounted(t)
  await runShell(t, HERE, `cd ${path}`)
  await runShell(t, ELSEWHERE, `exec 9>> ${path}/log`)
  t.is(codeOf(await t.throwsAsync(store.unmount(one.id))), 'VOLUME_BUSY')
  writeFileSync(join(path, 'more'), 'x')
  t.pass()
})

test.serial('a mount stays when there may be a writer in a mount namespace that shows nobody its mounts', async (t) => {
  const { store, one, path, data } = await mounted(t)
  await runShell(t, HERE, `cd ${path}`)
  // Its root is all that it sees of its namespace, and nobody else is there.
  const program = `open my $log, ">>", "${path}/log"; chroot "/proc/sys/vm"; $| = 1; print "ready\n"; <STDIN>;
    syswrite $log, "late"; print "done\n"`
  const hidden = spawn('unshare', ['--mount', '--propagation', 'unchanged', 'perl', '-e', program])
  t.teardown(() => hidden.kill('SIGKILL'))
  await once(hidden.stdout, 'data')
  t.is(codeOf(await t.throwsAsync(store.unmount(one.id))), 'VOLUME_BUSY')
  t.true((await store.mounted()).has(one.id))
  hidden.stdin.end('\n')
  await once(hidden, 'exit')
  t.is(readFileSync(join(data, 'log'), 'utf8'), 'hellolate')
  await store.unmount(one.id)
})

test.serial('what uses a mount and is no process keeps it only if it can write', async (t) => {
  const { store, one, path, data } = await mounted(t)
  writeFileSync(join(data, 'image'), Buffer.alloc(1024 * 1024))
  const attach = (how: string[]) =>
    execFileSync('losetup', [...how, '-f', '--show', join(path, 'image')], { encoding: 'utf8' }).trim()
  const detach = (device: string) => execFileSync('losetup', ['-d', device])
  const writing = attach([])
  const error = await t.throwsAsync(store.unmount(one.id))
  detach(writing)
  t.is(codeOf(error), 'VOLUME_BUSY')
  t.regex(error?.message ?? '', /no process that can be seen/)
  const reading = attach(['-r'])
  t.teardown(() => detach(reading))
  await store.unmount(one.id)
  t.false((await store.mounted()).has(one.id))
})

test.serial('processes of which nothing may be known may have the mount', async (t) => {
  const program = `import { scanTreeUse } from ${JSON.stringify(TREE_SCAN)}
    console.log(scanTreeUse({ directory: '/tmp', proc: '/proc', passedOver: [] }, () => undefined).isComplete)`
  const withoutPtrace = ['--bounding-set=-sys_ptrace', '--inh-caps=-sys_ptrace', process.execPath]
  const asked = execFileSync('setpriv', [...withoutPtrace, '--input-type=module', '-e', program], { encoding: 'utf8' })
  t.is(asked.trim(), 'false')
})

test.serial('a mount that came to a mount root twice, once below the other, goes with its readers', async (t) => {
  const { store, one, path } = await mounted(t)
  await store.unmount(one.id)
  const root = join(path, '..')
  // As a plugin's directory may be: a shared mount on top of another one of the same peer group.
  execFileSync('mount', ['--bind', root, root])
  t.teardown(() => execFileSync('umount', ['-R', '-l', root]))
  await store.mount(one.id)
  const copies = () => readFileSync('/proc/self/mountinfo', 'utf8').split(`${path} `).length - 1
  t.is(copies(), 2)
  await runShell(t, HERE, `exec 9< ${path}/log; cd ${path}`)
  await store.unmount(one.id)
  t.is(copies(), 0)
})

test.serial('a mount that stays because somebody came to write meanwhile can be written to', async (t) => {
  const { store, one, path, data } = await mounted(t)
  // It opens a file as soon as the mount is read-only, on a way that no mount bars.
  const program = `import os
print("ready", flush=True)
while os.access("${path}", os.W_OK): pass
log = open("${data}/log", "a")
input()`
  await runShell(t, HERE, `cd ${path}; exec python3 -c '${program}'`)
  const error = await store.unmount(one.id).catch((error: unknown) => error)
  t.true(error === undefined || codeOf(error) === 'VOLUME_BUSY')
  await store.mount(one.id)
  writeFileSync(join(path, 'more'), 'x')
  t.is(readFileSync(join(data, 'more'), 'utf8'), 'x')
})

test.serial('a mount that an agent had made read-only before it was killed can be written to again', async (t) => {
  const { store, one, stateDir, path, data } = await mounted(t)
  await store.unmount(one.id)
  // It lies there twice then, as a plugin's mounts may.
  const root = join(path, '..')
  execFileSync('mount', ['--bind', root, root])
  t.teardown(() => execFileSync('umount', ['-R', '-l', root]))
  await store.mount(one.id)
  const { places } = await findTreeUse(data)
  t.is(await makeReadOnly(places), 'read-only')
  await store[Symbol.asyncDispose]()
  const next = (await storeHost(t, stateDir)).store
  await next.recover()
  t.is(await next.mount(one.id), path)
  writeFileSync(join(path, 'more'), 'x')
  t.is(readFileSync(join(data, 'more'), 'utf8'), 'x')
})

test.serial('a mount below the volume keeps it', async (t) => {
  const { store, one, path } = await mounted(t)
  execFileSync('mkdir', [join(path, 'inner')])
  execFileSync('mount', ['-t', 'tmpfs', 'none', join(path, 'inner')])
  const error = await t.throwsAsync(store.unmount(one.id))
  t.is(codeOf(error), 'VOLUME_BUSY')
  t.regex(error?.message ?? '', /mount .*inner/)
  execFileSync('umount', [join(path, 'inner')])
  await store.unmount(one.id)
  t.pass()
})
