import { fork } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { pino } from 'pino'
import type { Guard } from '../../../agent/fence/contract.ts'
import { openGuardFile } from '../../../agent/fence/guard-file.ts'
import { type AgentMessage, createAgentWatchdog, parseAgentMessage } from '../../../agent/fence/watchdog-messages.ts'
import { untilTrue } from '../until.ts'

const SPEAKER = fileURLToPath(new URL('speaker.ts', import.meta.url))
const guard = (untilMs: number): Guard => ({ untilMs, volumes: [{ id: 'id1', name: 'data', epoch: 3 }] })

test('guards of a child process arrive in order, with signs of life between them', async (t) => {
  const child = fork(SPEAKER, ['3'])
  t.teardown(() => child.kill('SIGKILL'))
  const messages: (AgentMessage | null)[] = []
  child.on('message', (message) => messages.push(parseAgentMessage(message)))
  await once(child, 'exit')
  t.false(messages.includes(null))
  const guards = messages.flatMap((message) => (message?.kind === 'guard' ? [message.guard] : []))
  t.deepEqual(guards.at(-1), guard(3))
  t.true(messages.filter((message) => message?.kind === 'alive').length >= 2)
})

test('guards to a plugin that is gone are dropped: no error, no end of the process', async (t) => {
  const child = fork(SPEAKER, ['1000'], { silent: true })
  t.teardown(() => child.kill('SIGKILL'))
  let errors = ''
  child.stderr?.on('data', (data) => {
    errors += data
  })
  await once(child, 'message')
  child.disconnect()
  const [code] = await once(child, 'exit')
  t.is(code, 0, errors)
  t.is(errors, '')
})

test('of many guards sent while the plugin is stopped, only the newest arrives', (t) => {
  const sent: AgentMessage[] = []
  const arrived: (() => void)[] = []
  using watchdog = createAgentWatchdog({
    connected: true,
    on: () => undefined,
    send: (message, _handle, _options, done) => {
      sent.push(message as AgentMessage)
      arrived.push(() => done(null))
      return true
    },
  })
  for (let untilMs = 1; untilMs <= 1_000; untilMs++) watchdog.guard(guard(untilMs))
  const few = sent.length
  t.true(few < 10)
  for (const done of arrived.splice(0)) done()
  t.deepEqual(sent.slice(few), [{ kind: 'guard', guard: guard(1_000) }])
  for (const done of arrived.splice(0)) done()
  t.is(sent.length, few + 1)
})

test('promise 1: an agent learns what the watchdog guarded before it; nothing without a watchdog', async (t) => {
  const channel = Object.assign(new EventEmitter(), { connected: true, send: () => true })
  using watchdog = createAgentWatchdog(channel)
  channel.emit('message', { kind: 'frozen', id: '1' })
  channel.emit('message', { kind: 'guarded', guard: guard(1) })
  t.deepEqual(await watchdog.inherited(), guard(1))
  const nothing = { untilMs: Number.NEGATIVE_INFINITY, volumes: [] }
  using alone = createAgentWatchdog(new EventEmitter())
  t.deepEqual(await alone.inherited(), nothing)
  const broken = Object.assign(new EventEmitter(), { connected: true, send: () => true })
  using late = createAgentWatchdog(broken)
  broken.emit('disconnect')
  t.deepEqual(await late.inherited(), nothing)
})

test('a guard arrives although the agent is killed right after it was sent', async (t) => {
  const child = fork(SPEAKER, ['kill'])
  const messages: (AgentMessage | null)[] = []
  child.on('message', (message) => messages.push(parseAgentMessage(message)))
  await once(child, 'close')
  t.is(child.signalCode, 'SIGKILL')
  t.deepEqual(messages.slice(1), [
    { kind: 'guard', guard: guard(1) },
    { kind: 'guard', guard: guard(2) },
  ])
})

test('anything that is no message of the agent is ignored', (t) => {
  for (const message of [null, 'alive', {}, { kind: 'guard' }, { kind: 'guard', guard: { untilMs: 'soon' } }]) {
    t.is(parseAgentMessage(message), null)
  }
})

test('the last guard is kept for the next process of this boot, and void for the next boot', async (t) => {
  const stateDir = await mkdtemp(join(tmpdir(), 'wherry-guard-'))
  t.teardown(() => rm(stateDir, { recursive: true, force: true }))
  const open = () => openGuardFile({ stateDir, log: pino({ level: 'silent' }) })
  {
    await using file = await open()
    t.is(await file.last(), null)
    for (let untilMs = 1; untilMs <= 100; untilMs++) file.keep(guard(untilMs))
  }
  t.deepEqual(await (await open()).last(), guard(100))
  const path = join(stateDir, 'guard.json')
  const kept = JSON.parse(await readFile(path, 'utf8'))
  await writeFile(path, JSON.stringify({ ...kept, boot: 'another' }))
  t.is(await (await open()).last(), null)
  await writeFile(path, '')
  t.is(await (await open()).last(), null)
})

test('promise 6: a new volume is kept at once, so that a plugin killed right after still fences it', async (t) => {
  const stateDir = await mkdtemp(join(tmpdir(), 'wherry-guard-'))
  t.teardown(() => rm(stateDir, { recursive: true, force: true }))
  await using file = await openGuardFile({ stateDir, log: pino({ level: 'silent' }) })
  file.keep({ untilMs: 1, volumes: [] })
  await untilTrue(async () => (await file.last()) !== null)
  const newer = { untilMs: 2, volumes: [{ id: 'v', name: 'data', epoch: 1 }] }
  const startMs = performance.now()
  file.keep(newer)
  await untilTrue(async () => (await file.last())?.untilMs === 2)
  t.deepEqual(await file.last(), newer)
  t.true(performance.now() - startMs < 400, 'what is not new is written every 500 ms')
})

test('while nothing is guarded the file stays as it is; the end of a hold is written', async (t) => {
  const stateDir = await mkdtemp(join(tmpdir(), 'wherry-guard-'))
  t.teardown(() => rm(stateDir, { recursive: true, force: true }))
  const none = (untilMs: number) => ({ untilMs, volumes: [] })
  await using file = await openGuardFile({ stateDir, log: pino({ level: 'silent' }) })
  file.keep(none(1))
  await untilTrue(async () => (await file.last())?.untilMs === 1)
  await sleep(20)
  file.keep(none(2))
  await sleep(700)
  t.deepEqual(await file.last(), none(1))
  file.keep(guard(3))
  await untilTrue(async () => (await file.last())?.untilMs === 3)
  file.keep(none(4))
  await untilTrue(async () => (await file.last())?.untilMs === 4)
  t.deepEqual(await file.last(), none(4))
})
