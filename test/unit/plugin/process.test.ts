import { existsSync } from 'node:fs'
import test from 'ava'
import { pino } from 'pino'
import { createAgentClient } from '../../../agent/api/client.ts'
import { readAgentEnd } from '../../../agent/host/agent-end.ts'
import { pathsUnder } from '../../../agent/host/paths.ts'
import { LastWords } from '../../../plugin/last-words.ts'
import { superviseAgent } from '../../../plugin/supervisor.ts'
import { untilTrue } from '../until.ts'
import { isAlive, isServed, startProcess, TINY_AGENT } from './plugin-process.ts'

test('a wrong setting: one clear line, exit code 78, nothing bound, no agent', async (t) => {
  await using plugin = await startProcess({ WHERRY_LEASE: '8', WHERRY_PORT: '1' })
  const { code, stderr } = await plugin.spawnPlugin().ended
  t.is(code, 78)
  t.regex(stderr, /^wherry: Wrong settings: .*WHERRY_PORT is not a setting.*WHERRY_LEASE must be .*\n$/)
  t.is(stderr.split('\n').length, 2)
  t.false(existsSync(plugin.pluginSocket))
  t.deepEqual(plugin.diary('start'), [])
})

test('the socket is bound before the agent starts, and answers before the agent does', async (t) => {
  await using plugin = await startProcess({ TINY_AGENT: 'late' })
  plugin.spawnPlugin()
  await untilTrue(() => isServed(plugin.pluginSocket))
  t.deepEqual((await plugin.call('Plugin.Activate', ''))?.body, { Implements: ['VolumeDriver'] })
  t.is(plugin.diary('serve').length, 0)
  t.is((await plugin.call('VolumeDriver.Create', { Name: 'data' }))?.status, 200)
  t.is(plugin.diary('serve').length, 1)
  t.deepEqual(plugin.diary('start-before-socket'), [])
})

test('an agent that is killed is started again; calls wait for it', async (t) => {
  await using plugin = await startProcess()
  plugin.spawnPlugin()
  await untilTrue(() => plugin.diary('serve').length === 1)
  process.kill(plugin.diary('start')[0]?.pid ?? 0, 'SIGKILL')
  t.is((await plugin.call('VolumeDriver.Create', { Name: 'data' }))?.status, 200)
  t.is(plugin.diary('start').length, 2)
})

test('an agent that ends at once is started with growing pauses', async (t) => {
  await using plugin = await startProcess({ TINY_AGENT: 'crash' })
  plugin.spawnPlugin()
  await untilTrue(() => plugin.diary('start').length >= 5)
  const starts = plugin.diary('start').map(({ atMs }) => atMs)
  for (const [i, leastMs] of [100, 200, 400, 800].entries()) {
    t.true((starts[i + 1] ?? 0) - (starts[i] ?? 0) >= leastMs, `pause ${i}`)
  }
})

test('calls that find no agent repeat its last words, also about a wrong setting, and so does the command', async (t) => {
  await using plugin = await startProcess({ TINY_AGENT: 'wrong-setting', WHERRY_MOUNT_DEADLINE: '10s' })
  const { child } = plugin.spawnPlugin()
  await untilTrue(() => isServed(plugin.pluginSocket))
  await untilTrue(() => plugin.diary('start').length >= 2)
  const answer = await plugin.call('VolumeDriver.Mount', { Name: 'data', ID: 'm1' })
  const why = /does not reply \(it is not running\)\. It ended at \S+: The setting is wrong\. Mend it\. It is restarted/
  t.regex(String(answer?.body.Err), why)
  t.is(child.exitCode, null, 'the plugin stays, to say so')
  const stop = new AbortController()
  const client = createAgentClient(pathsUnder(plugin.root).agentSocket)
  t.regex(String((await t.throwsAsync(client.list(stop.signal)))?.message), /ended at \S+: The setting is wrong\./)
})

test('an agent that crashes is named with how it ended, and one that was asked to end leaves no such note', async (t) => {
  await using plugin = await startProcess({ TINY_AGENT: 'crash', WHERRY_MOUNT_DEADLINE: '10s' })
  const { child, ended } = plugin.spawnPlugin()
  await untilTrue(() => plugin.diary('start').length >= 2)
  const answer = await plugin.call('VolumeDriver.Mount', { Name: 'data', ID: 'm1' })
  t.regex(String(answer?.body.Err), /It ended at \S+: exit code 1\./)
  const { stateDir } = pathsUnder(plugin.root)
  t.regex((await readAgentEnd(stateDir))?.why ?? '', /exit code 1/)
  child.kill('SIGTERM')
  await ended
  t.is(await readAgentEnd(stateDir), null)
})

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`${signal}: the agent is asked to end, then the plugin ends with 0 and leaves no socket`, async (t) => {
    await using plugin = await startProcess()
    const { child, ended } = plugin.spawnPlugin()
    await untilTrue(() => plugin.diary('serve').length === 1)
    child.kill(signal)
    t.deepEqual(await ended, { code: 0, stderr: '' })
    t.is(plugin.diary('stop').length, 1)
    t.false(existsSync(plugin.pluginSocket))
  })
}

test('a Mount that waits when the plugin ends gets no answer, least of all a wrong one', async (t) => {
  await using plugin = await startProcess({ TINY_AGENT: 'crash' })
  const { child, ended } = plugin.spawnPlugin()
  await untilTrue(() => isServed(plugin.pluginSocket))
  const answer = plugin.call('VolumeDriver.Mount', { Name: 'data', ID: 'm1' })
  await untilTrue(() => plugin.diary('start').length >= 2)
  child.kill('SIGTERM')
  t.is(await answer, null)
  t.is((await ended).code, 0)
})

test('promise 11: a plugin that is killed takes its agent with it, and the next one takes over the socket', async (t) => {
  await using plugin = await startProcess()
  const first = plugin.spawnPlugin()
  await untilTrue(() => plugin.diary('serve').length === 1)
  first.child.kill('SIGKILL')
  await first.ended
  await untilTrue(() => !isAlive(plugin.diary('start')[0]?.pid ?? 0))
  t.true(existsSync(plugin.pluginSocket))
  plugin.spawnPlugin()
  await untilTrue(() => plugin.diary('serve').length === 2)
  t.is((await plugin.call('VolumeDriver.Capabilities'))?.status, 200)
})

test('a second plugin on the same socket ends with one line', async (t) => {
  await using plugin = await startProcess()
  plugin.spawnPlugin()
  await untilTrue(() => plugin.diary('serve').length === 1)
  const { code, stderr } = await plugin.spawnPlugin().ended
  t.is(code, 1)
  t.regex(stderr, /^wherry: Cannot listen on .*: another process does\..*\n$/)
  t.is((await plugin.call('VolumeDriver.Capabilities'))?.status, 200)
})

test('an agent that does not end in time is killed', async (t) => {
  await using plugin = await startProcess()
  const stop = new AbortController()
  const log = pino({ level: 'silent' })
  const done = superviseAgent({
    entry: TINY_AGENT,
    args: ['--root', plugin.root],
    env: { ...process.env, TINY_AGENT: 'stubborn' },
    log,
    lastWords: new LastWords(plugin.root, log),
    signal: stop.signal,
    stopLimitMs: 200,
  })
  await untilTrue(() => plugin.diary('serve').length === 1)
  stop.abort()
  await done
  t.false(isAlive(plugin.diary('start-before-socket')[0]?.pid ?? 0))
})
