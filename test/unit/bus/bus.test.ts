import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { eventually, freeze, scratch, serverPid, startHost } from './server.ts'

test('messages arrive as they were sent, by wildcard too; what is not JSON is dropped and logged', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  const got: [unknown, string][] = []
  const stop = new AbortController()
  host.bus.subscribe('hint.*', (message, subject) => got.push([message, subject]), stop.signal)
  await eventually('a connection', () => host.bus.state().connected)
  host.bus.publish('hint.h1', { volume: 'ä', n: [1, null] })
  host.bus.publish('other', 1)
  host.bus.connection().publish('wherry.v1.hint.h2', 'not json')
  host.bus.publish('hint.h2', 2)
  await eventually('the messages', () => got.length === 2)
  t.deepEqual(got, [
    [{ volume: 'ä', n: [1, null] }, 'hint.h1'],
    [2, 'hint.h2'],
  ])
  t.true(host.lines.some((line) => /not JSON/.test(line.msg)))
  stop.abort()
  await sleep(50)
  host.bus.publish('hint.h1', 3)
  await host.bus.connection().flush()
  await sleep(50)
  t.is(got.length, 2)
})

test('a handler that throws is logged and does not end the subscription', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  const got: unknown[] = []
  const handler = (message: unknown) => {
    got.push(message)
    if (message === 1) throw new Error('boom')
  }
  host.bus.subscribe('x', handler, new AbortController().signal)
  await eventually('a connection', () => host.bus.state().connected)
  host.bus.publish('x', 1)
  host.bus.publish('x', 2)
  await eventually('both', () => got.length === 2)
  t.true(host.lines.some((line) => /message handler failed/.test(line.msg)))
})

test('subscriptions survive a restart of the server; publishing while it is away does not throw', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  const got: unknown[] = []
  host.bus.subscribe('x', (message) => got.push(message), new AbortController().signal)
  await eventually('a connection', () => host.bus.state().connected)
  process.kill(serverPid(host), 'SIGKILL')
  await eventually('the loss', () => !host.bus.state().connected)
  t.notThrows(() => host.bus.publish('x', 'lost'))
  await eventually('a connection', () => host.bus.state().connected)
  host.bus.publish('x', 'after')
  await eventually('the message', () => got.length > 0)
  t.deepEqual(got, ['after'])
})

test('closing waits for messages on their way and takes little time even when the server hangs', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  host.bus.subscribe('x', () => {}, new AbortController().signal)
  await eventually('a connection', () => host.bus.state().connected)
  const pid = serverPid(host)
  await freeze(pid)
  const startedAt = performance.now()
  await host.bus[Symbol.asyncDispose]()
  const tookMs = performance.now() - startedAt
  process.kill(pid, 'SIGCONT')
  t.true(tookMs < 9_000, `${tookMs} ms`)
})
