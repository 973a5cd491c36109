import { mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { pino } from 'pino'
import { Client } from 'undici'
import { createAgentClient } from '../../../agent/api/client.ts'
import { serveApi } from '../../../agent/api/server.ts'
import { Metrics } from '../../../agent/metrics/metrics.ts'
import { ERROR_STATUS, type ErrorCode, WherryError } from '../../../agent/model/errors.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { createMemoryMobility, HEALTHY } from './memory-mobility.ts'

const OPTIONS = DEFAULT_OPTIONS
const never = new AbortController().signal

async function start() {
  const stack = new AsyncDisposableStack()
  const dir = await mkdtemp(join(tmpdir(), 'wherry-api-'))
  stack.defer(() => rm(dir, { recursive: true, force: true }))
  const socketPath = join(dir, 'agent.sock')
  const mobility = createMemoryMobility()
  const metrics = new Metrics()
  const logged: string[] = []
  const log = pino({ level: 'debug' }, { write: (line: string) => void logged.push(line) })
  const serve = async () =>
    stack.use(await serveApi({ mobility, metrics: () => metrics.scrape(mobility), socketPath, log }))
  const client = stack.use(createAgentClient(socketPath))
  const raw = new Client('http://agent', { connect: { socketPath } })
  stack.defer(() => raw.destroy())
  const request = async (method: string, path: string, body?: string) => {
    const answer = await raw.request({ method: method as 'GET', path, body: body ?? null })
    const type = answer.headers['content-type']
    return { status: answer.statusCode, type, body: await answer.body.text() }
  }
  return {
    socketPath,
    mobility,
    client,
    logged,
    serve,
    request,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
}

test('every call of the client reaches mobility and brings its answer back', async (t) => {
  await using agent = await start()
  await agent.serve()
  const { client, mobility } = agent
  const made = await client.create({ name: 'data', options: OPTIONS }, never)
  t.deepEqual(made, mobility.volumes.get('data'))
  t.deepEqual(await client.get('data', never), made)
  t.deepEqual(await client.list(never), [made])
  t.deepEqual(await client.mount('data', 'a/../b', { deadlineMs: 5_000 }, never), {
    mountpoint: '/mnt/wherry/id-of-data',
  })
  t.deepEqual([...mobility.mounts], ['data/a/../b'])
  await client.unmount('data', 'a/../b', never)
  t.is(mobility.mounts.size, 0)
  t.is((await client.verify('data', never)).damagedCount, 0)
  const promoted = { ...made, changed: true, summary: 'Volume "data" is as it is.' }
  t.deepEqual(await client.promote('data', { acceptLoss: true }, never), promoted)
  t.deepEqual(await client.drain({ on: true }, never), {
    host: 'h1 (10.0.0.1)',
    draining: true,
    left: [{ volume: 'data', why: 'about to go' }],
  })
  t.false((await client.drain({ on: false }, never)).draining)
  t.deepEqual(await client.recover(never), { written: ['data'], kept: [], problems: [] })
  t.deepEqual(await client.hosts(never), [])
  t.deepEqual(await client.moves(never), [])
  t.deepEqual(await client.health(never), HEALTHY)
  await client.remove('data', never)
  t.is(mobility.volumes.size, 0)
  const { id } = await client.create({ name: 'data', options: OPTIONS }, never)
  const consent = { force: true, acceptLoss: false }
  t.deepEqual(await client.removeWith('data', consent, never), {
    volume: 'data',
    id,
    references: ['service web'],
    lost: [],
  })
  for (const call of [
    'mount data a/../b 5000',
    'promote data true',
    'drain true',
    'drain false',
    'removeWith data true false',
  ]) {
    t.true(mobility.calls.includes(call), call)
  }
})

test("GET /metrics answers Prometheus' text, and the rest of it while the registry knows no volumes", async (t) => {
  await using agent = await start()
  await agent.serve()
  await agent.client.create({ name: 'data', options: OPTIONS }, never)
  const { status, type, body } = await agent.request('GET', '/metrics')
  t.deepEqual([status, type], [200, 'text/plain; version=0.0.4; charset=utf-8'])
  t.regex(body, /^wherry_volume_held\{volume="data",host="h1"\} 0$/m)
  t.regex(body, /^nodejs_eventloop_lag_max_seconds\{host="h1"\} /m)
  t.regex(body, /^wherry_lease_seconds_left\{host="h1"\} 7\.5$/m)
  agent.mobility.list = async () => {
    throw new WherryError('REGISTRY_UNAVAILABLE', 'No leader.')
  }
  agent.mobility.health = async () => ({ ...HEALTHY, registry: { available: false, detail: '' }, fenced: ['c1', 'c2'] })
  const away = await agent.client.metrics(never)
  t.notRegex(away, /^wherry_volume_held\{/m)
  t.regex(away, /^wherry_registry_available\{host="h1"\} 0$/m)
  t.regex(away, /^wherry_fenced_containers\{host="h1"\} 2$/m)
})

test('errors keep code, message and hint on their way through the API, with their status', async (t) => {
  await using agent = await start()
  await agent.serve()
  for (const code of Object.keys(ERROR_STATUS) as ErrorCode[]) {
    agent.mobility.before = () => {
      throw new WherryError(code, `${code} happened to "data".`, { hint: 'Do this.' })
    }
    const error = await t.throwsAsync(agent.client.get('data', never), { instanceOf: WherryError })
    t.like(error, { code, message: `${code} happened to "data".`, hint: 'Do this.' })
    const { status, body } = await agent.request('GET', '/volumes/data')
    t.is(status, ERROR_STATUS[code])
    t.deepEqual(JSON.parse(body), { error: { code, message: `${code} happened to "data".`, hint: 'Do this.' } })
  }
})

test('an unexpected error is INTERNAL outside and has its stack in the log', async (t) => {
  await using agent = await start()
  await agent.serve()
  agent.mobility.before = () => {
    throw new TypeError('oops')
  }
  const error = await t.throwsAsync(agent.client.list(never), { instanceOf: WherryError })
  t.is(error.code, 'INTERNAL')
  t.regex(error.message, /oops/)
  t.true(agent.logged.some((line) => line.includes('TypeError: oops') && line.includes('memory-mobility.ts')))
})

test('wrong input is refused before mobility sees it', async (t) => {
  await using agent = await start()
  await agent.serve()
  const refusals: [string, string, string | undefined, ErrorCode][] = [
    ['POST', '/volumes', undefined, 'REQUEST_INVALID'],
    ['POST', '/volumes', '{', 'REQUEST_INVALID'],
    ['POST', '/volumes', '{"name":"data"}', 'REQUEST_INVALID'],
    ['POST', '/volumes', JSON.stringify({ name: 'data', options: { ...OPTIONS, size: 1 } }), 'REQUEST_INVALID'],
    ['POST', '/volumes', JSON.stringify({ name: 'data', options: { ...OPTIONS, mode: 0o10000 } }), 'REQUEST_INVALID'],
    ['POST', '/volumes', JSON.stringify({ name: '../etc', options: OPTIONS }), 'NAME_INVALID'],
    ['POST', '/volumes', JSON.stringify({ name: 'x'.repeat(20_000), options: OPTIONS }), 'REQUEST_INVALID'],
    ['GET', `/volumes/${'x'.repeat(256)}`, undefined, 'NAME_INVALID'],
    ['GET', '/volumes/a%2Fb', undefined, 'NAME_INVALID'],
    ['PUT', '/volumes/data/mounts/m1', '{"deadlineMs":-1}', 'REQUEST_INVALID'],
    ['PUT', `/volumes/data/mounts/${'m'.repeat(256)}`, '{"deadlineMs":1}', 'REQUEST_INVALID'],
    ['POST', '/volumes/data/promote', '{}', 'REQUEST_INVALID'],
    ['POST', '/volumes/data/promote', '{"acceptLoss":"yes"}', 'REQUEST_INVALID'],
    ['POST', '/drain', '{"on":1}', 'REQUEST_INVALID'],
    ['PATCH', '/volumes/data', undefined, 'REQUEST_INVALID'],
  ]
  for (const [method, path, body, code] of refusals) {
    const answer = await agent.request(method, path, body)
    t.is(JSON.parse(answer.body).error.code, code, `${method} ${path.slice(0, 40)} ${body?.slice(0, 60)}`)
    t.is(answer.status, 400)
  }
  t.deepEqual(agent.mobility.calls, [])
})

test('without an agent every call says AGENT_UNAVAILABLE, and works again once it is there', async (t) => {
  await using agent = await start()
  const error = await t.throwsAsync(agent.client.list(never), { instanceOf: WherryError })
  t.is(error.code, 'AGENT_UNAVAILABLE')
  {
    await using _served = await agent.serve()
    t.deepEqual(await agent.client.list(never), [])
  }
  t.is((await t.throwsAsync(agent.client.list(never), { instanceOf: WherryError })).code, 'AGENT_UNAVAILABLE')
  await agent.serve()
  t.deepEqual(await agent.client.list(never), [])
})

test('an agent that ends in the middle of a call is AGENT_UNAVAILABLE to its client', async (t) => {
  await using agent = await start()
  const served = await agent.serve()
  const { promise: entered, resolve: enter } = Promise.withResolvers<void>()
  agent.mobility.before = () => {
    enter()
    return new Promise(() => {})
  }
  const answer = agent.client.list(never)
  await entered
  const [error] = await Promise.all([t.throwsAsync(answer, { instanceOf: WherryError }), served[Symbol.asyncDispose]()])
  t.is(error?.code, 'AGENT_UNAVAILABLE')
})

test('a slow call does not hold up the others, and ends when its signal aborts', async (t) => {
  await using agent = await start()
  await agent.serve()
  agent.mobility.before = (call) => (call.startsWith('mount') ? sleep(60_000, undefined, { ref: false }) : undefined)
  const stop = new AbortController()
  const mounts = Array.from({ length: 20 }, (_, i) =>
    agent.client.mount('data', `m${i}`, { deadlineMs: 60_000 }, stop.signal),
  )
  t.deepEqual(await agent.client.list(never), [])
  stop.abort(new Error('enough'))
  for (const mount of mounts) await t.throwsAsync(mount, { message: 'enough' })
})

test('get learns that its client hung up', async (t) => {
  await using agent = await start()
  await agent.serve()
  const { promise: entered, resolve: enter } = Promise.withResolvers<AbortSignal>()
  agent.mobility.get = (_name, signal) => {
    enter(signal)
    return new Promise(() => {})
  }
  const stop = new AbortController()
  const answer = agent.client.get('data', stop.signal)
  const seen = await entered
  stop.abort(new Error('enough'))
  await t.throwsAsync(answer, { message: 'enough' })
  if (!seen.aborted) await new Promise((resolve) => seen.addEventListener('abort', resolve))
  t.true(seen.aborted)
})

test('the socket is for root alone; a stale file is replaced, a served one and other files are not', async (t) => {
  await using agent = await start()
  // A listener that dies without closing leaves its file behind; renaming hides the file from Node's own clean-up.
  const dead = createServer()
  await new Promise<void>((resolve) => dead.listen(`${agent.socketPath}.old`, resolve))
  await rename(`${agent.socketPath}.old`, agent.socketPath)
  await t.throwsAsync(agent.serve(), { instanceOf: WherryError, message: /another process/ })
  await new Promise((resolve) => dead.close(resolve))
  t.true((await stat(agent.socketPath)).isSocket())

  await agent.serve()
  t.is((await stat(agent.socketPath)).mode & 0o777, 0o600)
  t.deepEqual(await agent.client.list(never), [])
})

test('a file that is no socket is left alone', async (t) => {
  await using agent = await start()
  await writeFile(agent.socketPath, 'precious')
  await t.throwsAsync(agent.serve(), { instanceOf: WherryError, message: /not a socket/ })
  t.is((await stat(agent.socketPath)).size, 8)
})
