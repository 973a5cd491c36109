import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, openSync, readSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { untilTrue } from '../until.ts'

/** A process that logs into a pipe of which this one has the other end. */
async function start() {
  const stack = new AsyncDisposableStack()
  const directory = await mkdtemp(join(tmpdir(), 'wherry-log-'))
  stack.defer(() => rm(directory, { recursive: true, force: true }))
  const path = join(directory, 'pipe')
  execFileSync('mkfifo', [path])
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
  stack.defer(() => closeSync(fd))
  const writing = openSync(path, 'w')
  const script = join(import.meta.dirname, 'log-writer.ts')
  const child = spawn(process.execPath, [script], { stdio: ['ignore', writing, 'inherit', 'ipc'] })
  closeSync(writing)
  stack.defer(() => void child.kill('SIGKILL'))
  const text = (): string => {
    const into = Buffer.alloc(1 << 20)
    let bytes = 0
    try {
      for (;;) bytes += readSync(fd, into, bytes, into.length - bytes, null)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
    }
    return into.toString('latin1', 0, bytes)
  }
  const lines = () =>
    text()
      .split('\n')
      .filter((line) => line !== '')
  return { child, lines, [Symbol.asyncDispose]: () => stack.disposeAsync() }
}

/** The number of a field in a line. */
function numberIn(line: string, name: string): number {
  return Number(new RegExp(` ${name}=(\\d+)`).exec(line)?.[1])
}

test('a log that nobody reads holds nobody: lines are dropped, and counted once somebody reads again', async (t) => {
  await using ground = await start()
  await once(ground.child, 'message')
  const first = ground.lines()
  t.deepEqual(
    first.map((line) => numberIn(line, 'nth')),
    first.map((_, at) => at + 1),
  )
  t.true(first.length < 2_000)
  ground.child.send('later')
  const second: string[] = []
  await untilTrue(() => {
    second.push(...ground.lines())
    return second.length > 0
  })
  t.regex(second[0] ?? '', /^wherry WARN \S+ test: log lines dropped/)
  t.is(numberIn(second[0] ?? '', 'lines'), 2_000 - first.length)
  t.regex(second[1] ?? '', /^wherry INFO \S+ test: later$/)
  ground.child.send('last')
  const third: string[] = []
  await untilTrue(() => {
    third.push(...ground.lines())
    return third.length > 0
  })
  t.regex(third.join(), /^wherry INFO \S+ test: last$/)
})

test('a process that crashes says so in one line of the log', async (t) => {
  await using ground = await start()
  await once(ground.child, 'message')
  ground.lines()
  const ended = once(ground.child, 'exit')
  ground.child.send('crash')
  t.deepEqual(await ended, [1, null])
  const [dropped = '', ...lines] = ground.lines()
  t.regex(dropped, /log lines dropped/)
  t.is(lines.length, 1)
  t.regex(lines[0] ?? '', /^wherry FATAL \S+ test: process crashed err='it broke' stack='Error: it broke <- .*'$/)
})
