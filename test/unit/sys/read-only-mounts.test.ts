import { execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { globSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import test from 'ava'

const run = promisify(execFile)
const SYS = new URL('../../../agent/sys/', import.meta.url).href

test('a thread that has been in other mount namespaces writes nothing there when it ends', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'wherry-namespaces-'))
  const name = 'only-here'
  const cache = join(directory, 'cache')
  execFileSync('mount', ['--bind', directory, directory])
  t.teardown(async () => {
    execFileSync('umount', ['-R', '-l', directory])
    await rm(directory, { recursive: true })
  })
  execFileSync('mount', ['--make-shared', directory])
  for (const made of ['tree', name]) await mkdir(join(directory, made))
  execFileSync('mount', ['--bind', join(directory, 'tree'), join(directory, name)])
  const program = `
    const { findTreeUse } = await import('${SYS}tree-use.ts')
    const { makeReadOnly } = await import('${SYS}read-only-mounts.ts')
    const { places } = await findTreeUse('${join(directory, 'tree')}')
    process.stdout.write(places.length + ' ' + (await makeReadOnly(places)))`
  const node = async () =>
    (
      await run(process.execPath, ['-e', program], {
        env: { ...process.env, NODE_COMPILE_CACHE: cache },
      })
    ).stdout
  // Node writes its cache into a directory of its version, if there is one.
  t.is(await node(), '1 read-only')
  const [version = ''] = globSync('*', { cwd: cache })
  for (const file of globSync(`${version}/*`, { cwd: cache })) await rm(join(cache, file))
  const script = `mount --make-private ${directory}; mount -t tmpfs none ${cache}; mkdir ${join(cache, version)}
    echo ready; read _; ls ${join(cache, version)}`
  const elsewhere = spawn('unshare', ['--mount', '--propagation', 'unchanged', 'bash', '-c', script])
  t.teardown(() => elsewhere.kill('SIGKILL'))
  await once(elsewhere.stdout, 'data')
  t.is(await node(), '2 read-only')
  elsewhere.stdin.end('\n')
  t.is(await text(elsewhere.stdout), '')
})
