import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { pino } from 'pino'
import { createAgentClient } from '../../../agent/api/client.ts'
import { serveApi } from '../../../agent/api/server.ts'
import { isKnownName } from '../../../agent/host/known-names.ts'
import { createCalls } from '../../../plugin/driver.ts'
import { EnginePatience } from '../../../plugin/engine-patience.ts'
import { Mounts } from '../../../plugin/mounts.ts'
import { servePlugin } from '../../../plugin/server.ts'
import { createMemoryMobility } from '../api/memory-mobility.ts'

export interface Answer {
  readonly status: number
  readonly contentType: string
  readonly body: Record<string, unknown>
}

/** A request byte by byte as Go's client in dockerd writes it: no Content-Type, a newline after the JSON. */
export function asDockerd(call: string, body: object | string = {}, headers: readonly string[] = []): string {
  const json = typeof body === 'string' ? body : `${JSON.stringify(body)}\n`
  return [
    `POST /${call} HTTP/1.1`,
    'Host: plugin.moby.localhost',
    'User-Agent: Go-http-client/1.1',
    `Content-Length: ${Buffer.byteLength(json)}`,
    'Accept: application/vnd.docker.plugins.v1.1+json',
    ...headers,
    '',
    json,
  ].join('\r\n')
}

/** Sends raw bytes and reads to the end. Null: the connection was closed without a single byte. */
export async function exchange(socketPath: string, request: string, signal?: AbortSignal): Promise<Answer | null> {
  const socket = connect(socketPath)
  signal?.addEventListener('abort', () => socket.destroy(), { once: true })
  socket.write(request)
  const raw = await text(socket).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ECONNRESET' || error.code === 'ERR_STREAM_PREMATURE_CLOSE') return ''
    throw error
  })
  if (raw === '') return null
  const [head = '', ...rest] = raw.split('\r\n\r\n')
  return {
    status: Number(head.split(' ')[1]),
    contentType: /content-type: (.*)/i.exec(head)?.[1]?.trim() ?? '',
    body: JSON.parse(rest.join('\r\n\r\n')),
  }
}

/** The plugin's real server and client, and an agent's real API over volumes in memory, started on demand. */
export async function startPlugin(limits: { mountDeadlineMs?: number; deadlineMs?: number } = {}) {
  const stack = new AsyncDisposableStack()
  const dir = await mkdtemp(join(tmpdir(), 'wherry-plugin-'))
  stack.defer(() => rm(dir, { recursive: true, force: true }))
  const agentSocket = join(dir, 'agent.sock')
  const socketPath = join(dir, 'plugin.sock')
  const log = pino({ level: 'silent' })
  const mobility = createMemoryMobility()
  const stop = new AbortController()
  const agent = stack.use(createAgentClient(agentSocket))
  const patience = new EnginePatience(log)
  const mounts = new Mounts({ agent, deadlineMs: limits.mountDeadlineMs ?? 5_000, patience, log, signal: stop.signal })
  const isKnown = (name: string) => isKnownName(dir, name)
  const calls = createCalls({ agent, mounts, isKnown, deadlineMs: limits.deadlineMs ?? 5_000 })
  const server = stack.use(
    await servePlugin({
      socket: socketPath,
      calls,
      gaveUp: (afterMs) => patience.gaveUp(afterMs),
      log,
      signal: stop.signal,
    }),
  )
  stack.defer(() => stop.abort(new Error('the test ends')))
  return {
    socketPath,
    /** The state directory. */
    dir,
    mobility,
    patience,
    server,
    serveAgent: async () =>
      stack.use(await serveApi({ mobility, socketPath: agentSocket, metrics: async () => '', log })),
    call: (call: string, body?: object | string, headers?: readonly string[]) =>
      exchange(socketPath, asDockerd(call, body, headers)),
    callUntil: (signal: AbortSignal, call: string, body: object) => exchange(socketPath, asDockerd(call, body), signal),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
}
