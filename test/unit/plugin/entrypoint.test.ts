import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, lstatSync, openSync, readdirSync, readlinkSync, readSync, writeSync } from 'node:fs'
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { knock } from '../../../agent/api/http.ts'
import { untilTrue } from '../until.ts'
import { asDockerd, exchange } from './engine.ts'
import {
  argumentsOf,
  buildEntrypoint,
  ENTRYPOINT,
  type Entrypoint,
  IN_CONTAINER,
  pluginChildrenOf,
  readProc,
  script,
  startEntrypoint,
} from './entrypoint-kit.ts'

const here = (file: string) => fileURLToPath(new URL(file, import.meta.url))
/** The real plugin's process with an agent without data. */
const REAL = (root: string) => [process.execPath, here('run-plugin.ts'), here('tiny-agent.ts'), '--root', root]
const FOREVER = 'exec sleep 3600'
const WAIT = 'until [ -e $DIR/go ]; do sleep 0.02; done'

test.before(buildEntrypoint)

test('promise 11: a plugin process killed over and over, at intervals from 0 s on, is restarted', async (t) => {
  await using entrypoint = await startEntrypoint(script('while :; do sleep 3600; done'))
  const killed = new Set<number>()
  for (const waitMs of [0, 0, 0, 0, 0, 10, 50, 100, 300, 1_100, 0, 0]) {
    await untilTrue(() => fresh(entrypoint, killed) !== undefined)
    await sleep(waitMs)
    const pid = fresh(entrypoint, killed) ?? 0
    killed.add(pid)
    process.kill(pid, 'SIGKILL')
  }
  await untilTrue(() => fresh(entrypoint, killed) !== undefined)
  t.true(entrypoint.isAlive())
})

for (const end of ['exit 0', 'exit 1', 'exit 78', 'kill -SEGV $$', 'kill -TERM $$', 'exec /nowhere']) {
  test(`a plugin process that ends by itself is restarted: ${end}`, async (t) => {
    await using entrypoint = await startEntrypoint(script(`[ $(wc -l <$DIR/diary) = 1 ] || ${FOREVER}; ${end}`))
    await untilTrue(() => entrypoint.diary().length === 2)
    t.true(entrypoint.isAlive())
  })
}

test('a plugin process that ends at once is restarted with growing pauses', async (t) => {
  await using entrypoint = await startEntrypoint(script('exit 1'))
  await untilTrue(() => entrypoint.diary().length >= 6)
  const starts = entrypoint.diary().map(Number)
  // What is written down is the start of date: some milliseconds after the process's own.
  for (const [i, leastMs] of [0, 50, 150, 350, 750].entries()) {
    t.true((starts[i + 1] ?? 0) - (starts[0] ?? 0) >= leastMs, `start ${i + 1}`)
  }
})

test('a program that cannot be run and a missing directory for the socket do not end it', async (t) => {
  await using none = await startEntrypoint(['/nowhere'])
  const dir = await mkdtemp(join(tmpdir(), 'wherry-entrypoint-'))
  await using late = await startEntrypoint(script(FOREVER), { dir, socket: join(dir, 'late', 'plugin.sock') })
  await sleep(200)
  t.true(none.isAlive())
  t.deepEqual(late.diary(), [])
  await mkdir(join(dir, 'late'))
  await untilTrue(() => late.diary().length === 1)
  t.true(lstatSync(late.socket).isSocket())
})

test('promise 11: it restarts the plugin while nobody reads what it says and the pipe is full', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'wherry-entrypoint-'))
  const { reader, writer } = fullPipe(join(dir, 'pipe'))
  t.teardown(() => closeSync(reader))
  await using entrypoint = await startEntrypoint(script('exit 1'), { dir, stderr: writer })
  closeSync(writer)
  await untilTrue(() => entrypoint.diary().length >= 3)
  const again = openSync(join(dir, 'pipe'), 'w')
  await using none = await startEntrypoint(['/nowhere'], { stderr: again })
  closeSync(again)
  await untilTrue(() => none.children().length === 0)
  // Room for one line and no more: two processes may want it.
  readSync(reader, Buffer.alloc(4096))
  await untilTrue(() => entrypoint.diary().length >= 6)
  t.true(entrypoint.isAlive())
  t.true(none.isAlive())
})

test('promise 11: it restarts the plugin when what it says goes to a pipe that is closed', async (t) => {
  await using entrypoint = await startEntrypoint(script('exit 1'))
  entrypoint.closeStderr()
  await untilTrue(() => entrypoint.diary().length >= 4)
  t.true(entrypoint.isAlive())
})

test('the process that asks for a new container (75) ends it', async (t) => {
  await using entrypoint = await startEntrypoint(script(`${WAIT}; exit 75`))
  await writeFile(join(entrypoint.dir, 'go'), '')
  const { code, stderr } = await entrypoint.ended
  t.is(code, 75)
  t.is(stderr, '')
  t.throws(() => lstatSync(entrypoint.socket), { code: 'ENOENT' })
})

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`${signal}: passed on; it ends after the plugin's process, with its code, and leaves no socket`, async (t) => {
    const trap = `trap 'sleep 0.3; echo orderly >>$DIR/diary; exit 7' ${signal.slice(3)}`
    await using entrypoint = await startEntrypoint(
      script(`${trap}; echo ready >>$DIR/diary; while :; do sleep 0.05; done`),
    )
    await untilTrue(() => entrypoint.diary().length === 2)
    process.kill(entrypoint.pid, signal)
    t.deepEqual(await entrypoint.ended, { code: 7, stderr: '' })
    t.is(entrypoint.diary()[2], 'orderly')
    t.throws(() => lstatSync(entrypoint.socket), { code: 'ENOENT' })
  })
}

test('SIGTERM between two starts ends it at once', async (t) => {
  await using entrypoint = await startEntrypoint(['/nowhere'])
  await sleep(300)
  process.kill(entrypoint.pid, 'SIGTERM')
  await entrypoint.ended
  t.pass()
})

test('orphans are reaped', async (t) => {
  await using entrypoint = await startEntrypoint(
    script('for i in 1 2 3; do (sleep 0.2 & ) ; done; echo >>$DIR/diary; exec sleep 3600'),
  )
  await untilTrue(() => entrypoint.diary().length === 2)
  await untilTrue(() => pluginChildrenOf(entrypoint.pid).length === 1)
  t.is(entrypoint.children().length, 0, 'the script has become sleep')
  t.deepEqual(argumentsOf(pluginChildrenOf(entrypoint.pid)[0] ?? 0), ['sleep', '3600'])
})

test('what a plugin process that was killed has left is killed too, also in a session of its own', async (t) => {
  await using entrypoint = await startEntrypoint(script(`setsid sh -c 'exec sleep 1234' & ${FOREVER}`))
  await untilTrue(() => asleep(entrypoint, '1234').length === 1 && asleep(entrypoint, '3600').length === 1)
  const [left] = asleep(entrypoint, '1234')
  process.kill(asleep(entrypoint, '3600')[0] ?? 0, 'SIGKILL')
  // What was killed is seen for a moment longer on a busy machine.
  await untilTrue(() => entrypoint.diary().length === 2 && !asleep(entrypoint, '1234').includes(left ?? 0))
  await untilTrue(() => asleep(entrypoint, '1234').length === 1)
  t.is(entrypoint.diary().length, 2)
})

test('Docker is refused until the settings are good; from then on a call waits for the next process', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'wherry-entrypoint-'))
  const socket = join(dir, 'plugin.sock')
  const real = REAL(dir).join(' ')
  await using entrypoint = await startEntrypoint(script(`${WAIT}; exec ${real}`), { dir, socket })
  await untilTrue(() => entrypoint.diary().length === 1)
  t.is(await knock(socket), 'dead')
  t.is(lstatSync(socket).mode & 0o777, 0o600)
  await writeFile(join(dir, 'go'), '')
  await untilTrue(async () => (await knock(socket)) === 'served')
  for (let round = 0; round < 3; round++) {
    const [plugin = 0] = pluginChildrenOf(entrypoint.pid)
    process.kill(plugin, 'SIGKILL')
    await untilTrue(() => !pluginChildrenOf(entrypoint.pid).includes(plugin))
    t.is((await exchange(socket, asDockerd('Plugin.Activate', '')))?.status, 200)
    t.is((await exchange(socket, asDockerd('VolumeDriver.Create', { Name: `data${round}` })))?.status, 200)
  }
})

test("the agent does not inherit Docker's socket", async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'wherry-entrypoint-'))
  await using entrypoint = await startEntrypoint(REAL(dir), { dir })
  await untilTrue(() => entrypoint.diary().some((line) => line.startsWith('serve')))
  const [plugin = 0] = entrypoint.children()
  const socket = readlinkSync(`/proc/${plugin}/fd/3`)
  t.regex(socket, /^socket:/)
  const [agent = 0] = pluginChildrenOf(plugin)
  const open = readdirSync(`/proc/${agent}/fd`).map((fd) => readlinkSync(`/proc/${agent}/fd/${fd}`))
  t.true(open.length > 3)
  t.false(open.includes(socket))
})

test('the socket file of an earlier container is replaced, a served one too', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'wherry-entrypoint-'))
  const socket = join(dir, 'plugin.sock')
  const old = createServer().listen(socket)
  await once(old, 'listening')
  await using entrypoint = await startEntrypoint(script(FOREVER), { dir, socket })
  await untilTrue(() => entrypoint.diary().length === 1)
  t.is(await knock(socket), 'dead')
  old.close()
})

test('the OOM killer takes containers first, process 1 never, as far as the kernel allows', async (t) => {
  await using entrypoint = await startEntrypoint(script(FOREVER))
  await untilTrue(() => asleep(entrypoint, '3600').length === 1)
  const score = (pid: number | 'self') => readProc(`${pid}/oom_score_adj`).trim()
  const mayLower = (BigInt(`0x${/CapEff:\s*(\w+)/.exec(readProc('self/status'))?.[1]}`) >> 24n) & 1n
  t.is(score(entrypoint.pid), mayLower ? '-1000' : score('self'))
  t.is(score(asleep(entrypoint, '3600')[0] ?? 0), mayLower ? '-500' : score('self'))
})

test('it refuses to run anywhere but as process 1', async (t) => {
  const shell = spawn('unshare', [...IN_CONTAINER, 'sh', '-c', `${ENTRYPOINT} /tmp/none.sock /bin/true; echo $?`])
  const [stdout, stderr] = await Promise.all([text(shell.stdout), text(shell.stderr)])
  t.is(stdout, '1\n')
  t.regex(stderr, /must be process 1 of a container/)
})

function fresh(entrypoint: Entrypoint, killed: ReadonlySet<number>): number | undefined {
  return entrypoint.children().find((pid) => !killed.has(pid))
}

function asleep(entrypoint: Entrypoint, seconds: string): number[] {
  const all = pluginChildrenOf(entrypoint.pid).flatMap((pid) => [pid, ...pluginChildrenOf(pid)])
  return all.filter((pid) => argumentsOf(pid).join(' ') === `sleep ${seconds}`)
}

/** A pipe without room. Who writes to `writer` waits. */
function fullPipe(path: string): { reader: number; writer: number } {
  execFileSync('mkfifo', [path])
  const reader = openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
  const writer = openSync(path, 'w')
  try {
    for (;;) writeSync(reader, Buffer.alloc(4096))
  } catch {
    return { reader, writer }
  }
}
