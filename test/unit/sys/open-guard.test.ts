import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import test from 'ava'
import { OpenGuard } from '../../../agent/sys/open-guard.ts'
import { untilTrue } from '../until.ts'

async function start() {
  const directory = await mkdtemp(join(tmpdir(), 'wherry-guard-'))
  const path = (name: string) => join(directory, name)
  for (const name of ['one', 'two', 'other']) await writeFile(path(name), 'before')
  const read = (name: string): ChildProcess => spawn('cat', [path(name)], { stdio: ['ignore', 'pipe', 'inherit'] })
  return { path, read, [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }) }
}

const said = (child: ChildProcess): Promise<string> =>
  child.stdout === null ? Promise.resolve('') : text(child.stdout)

test('whoever opens a guarded file is held until the guard is closed, and finds what is there then; others are not', async (t) => {
  await using ground = await start()
  const { path, read } = ground
  const guard = OpenGuard.over([path('one'), path('two')])
  if (guard === null) return t.fail('this kernel has no permission events')
  t.false(guard.isKnockedAt)
  t.is(await said(read('other')), 'before')
  t.false(guard.isKnockedAt)
  // Opening is what is guarded: this process has to do without.
  const held = read('two')
  await untilTrue(() => guard.isKnockedAt)
  t.is(held.exitCode, null)
  guard[Symbol.dispose]()
  guard[Symbol.dispose]()
  t.false(guard.isKnockedAt)
  t.is(await said(held), 'before')
})

test('a process that dies guards nothing any more', async (t) => {
  await using ground = await start()
  const { path, read } = ground
  const module = new URL('../../../agent/sys/open-guard.ts', import.meta.url).href
  const script = `import { OpenGuard } from '${module}'
    globalThis.guard = OpenGuard.over(['${path('one')}'])
    process.stdout.write('guards'); setInterval(() => {}, 1000)`
  const guardian = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(guardian.stdout, 'data')
  const held = read('one')
  guardian.kill('SIGKILL')
  t.is(await said(held), 'before')
})

test('a file that is gone cannot be guarded', async (t) => {
  await using ground = await start()
  t.throws(() => OpenGuard.over([ground.path('one'), ground.path('none')]), { message: /ENOENT/ })
  t.is(await said(ground.read('one')), 'before')
})
