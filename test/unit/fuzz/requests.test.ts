import { request as httpRequest } from 'node:http'
import { text } from 'node:stream/consumers'
import test from 'ava'
import fc from 'fast-check'
import { parseAgentMessage, parsePluginMessage } from '../../../agent/fence/watchdog-messages.ts'
import { codeOf } from '../../../agent/model/errors.ts'
import { parseOptions } from '../../../agent/model/volume-options.ts'
import { parseRequest } from '../../../plugin/request.ts'
import { startPlugin } from '../plugin/engine.ts'
import { cases, decodes, isUnpolluted, nearly, nearlyText } from './hostile-json.ts'

const BODIES = [
  { Name: 'data', Opts: { copies: '2', checkpoint: '5s', mode: '0750' } },
  { Name: 'data', ID: 'a'.repeat(64) },
  { Name: 'data', Opts: null },
]
const CALLS = ['Create', 'Get', 'List', 'Path', 'Mount', 'Unmount', 'Remove', 'Capabilities']
const ROUTES = ['/volumes', '/volumes/data', '/volumes/data/mount', '/volumes/data/unmount', '/drain', '/recover']
const isCoded = (error: unknown) => codeOf(error) !== undefined

/** Calls that hang up where an error would make dockerd forget a volume; see plugin/driver.ts. */
const HANG_UP = ['Get']

/** Sends one request over a socket file; answers its status and body, and status 0 when the other side hung up. */
async function send(socketPath: string, method: string, path: string, body: string) {
  return await new Promise<{ status: number; body: string }>((resolve, reject) => {
    const asked = httpRequest({
      socketPath,
      method,
      path,
      agent: false,
      headers: { 'content-length': Buffer.byteLength(body) },
    })
    asked.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNRESET') resolve({ status: 0, body: '' })
      else reject(error)
    })
    asked.on('response', (reply) => {
      text(reply).then((said) => resolve({ status: reply.statusCode ?? 0, body: said }), reject)
    })
    asked.end(body)
  })
}

test('plugin requests: name, mount id and options are taken or refused with their code', (t) => {
  const decode = (input: string) => {
    const asked = parseRequest(input)
    asked.name()
    asked.options()
    asked.mountId()
  }
  decodes(t, nearlyText(BODIES), 2_000, decode, isCoded)
  const options = nearly([{ copies: '2', mode: '0750', uid: '999', checkpoint: '5s', consistency: 'live' }])
  const texts = options.map((value) =>
    Object.fromEntries(Object.entries(value ?? {}).map(([k, v]) => [k, JSON.stringify(v) ?? ''])),
  )
  decodes(t, texts, 1_000, parseOptions, isCoded)
})

test("plugin: any body for any call is answered, and the engine's next call works", async (t) => {
  await using plugin = await startPlugin({ mountDeadlineMs: 2_000, deadlineMs: 2_000 })
  await plugin.serveAgent()
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...CALLS), nearlyText(BODIES), async (call, body) => {
      const said = await send(plugin.socketPath, 'POST', `/VolumeDriver.${call}`, body)
      if (said.status === 0) {
        t.true(HANG_UP.includes(call), call)
        return true
      }
      const reply = JSON.parse(said.body) as { Err?: string }
      t.true(said.status === 200 || typeof reply.Err === 'string', `${said.status} ${said.body}`)
      t.not(reply.Err, '')
      return isUnpolluted()
    }),
    { ...cases(250), includeErrorInReport: true },
  )
  await plugin.call('VolumeDriver.Create', { Name: 'after' })
  t.is((await plugin.call('VolumeDriver.Get', { Name: 'after' }))?.status, 200)
})

test('agent: any body for any route is answered with a result or a code, and the next call works', async (t) => {
  await using plugin = await startPlugin()
  await plugin.serveAgent()
  const socketPath = `${plugin.dir}/agent.sock`
  const bodies = [
    { name: 'data', options: { copies: 2 } },
    { mountId: 'm', deadlineMs: 500 },
    { on: true },
    { acceptLoss: true },
  ]
  const methods = fc.constantFrom('POST', 'PUT', 'GET', 'DELETE', 'PATCH')
  await fc.assert(
    fc.asyncProperty(methods, fc.constantFrom(...ROUTES), nearlyText(bodies), async (method, path, body) => {
      const said = await send(socketPath, method, path, body)
      t.true(
        said.status >= 200 && said.status < 600,
        `${said.status} ${method} ${path} ${body.length} ${body.slice(0, 90)}`,
      )
      if (said.status >= 400) t.is(typeof JSON.parse(said.body).error.code, 'string', said.body)
      return isUnpolluted()
    }),
    cases(250),
  )
  t.is((await send(socketPath, 'GET', '/volumes', '')).status, 200)
})

test('watchdog: messages between plugin and agent have their shape, or are none', (t) => {
  const volumes = [{ id: 'id', name: 'data', epoch: 1 }]
  const samples = [
    { kind: 'guard', guard: { untilMs: 5, volumes } },
    { kind: 'freeze', request: { id: 'f', containers: ['c'], budgetMs: 500 } },
    { kind: 'guarded', guard: { untilMs: 5, volumes } },
    { kind: 'thawed', end: { id: 'f', why: null, frozenMs: 3 } },
  ]
  for (const parse of [parseAgentMessage, parsePluginMessage]) {
    decodes(t, nearly(samples), 1_000, (message) => assertSome(parse(message)), isNone)
  }
})

class None extends Error {}
const isNone = (error: unknown) => error instanceof None

function assertSome(message: unknown): void {
  if (message === null) throw new None()
}
