import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import Koa, { type Context } from 'koa'
import type { Logger } from 'pino'
import { createSocketServer, listenOnDescriptor, listenOnSocket, readRequestBody } from '../agent/api/http.ts'
import { WherryError } from '../agent/model/errors.ts'
import type { DriverCall } from './driver.ts'
import { parseRequest } from './request.ts'

const CONTENT_TYPE = 'application/vnd.docker.plugins.v1.2+json'

/** A Create with every option is below 1 KiB; labels are not sent to plugins. */
const BODY_LIMIT_BYTES = 65_536

export interface PluginServer extends AsyncDisposable {
  /** Requests that are running now. */
  readonly running: () => number
  /** When the last request came, by performance.now(); -Infinity before the first. */
  readonly lastRequestMs: () => number
  /** Accepts no new connections; running requests go on. */
  readonly stopAccepting: () => void
}

/**
 * Serves Docker's plugin protocol on a unix socket; resolves when it accepts connections.
 * Disposing cuts running requests: the engine then asks again.
 */
export async function servePlugin(options: {
  /** Path of a socket to bind, or the descriptor of one that the entrypoint has bound. */
  socket: string | number
  calls: Readonly<Record<string, DriverCall>>
  /** Told when the engine hung up on a call, after so long. */
  gaveUp: (afterMs: number) => void
  log: Logger
  /** Aborts when the plugin stops. */
  signal: AbortSignal
}): Promise<PluginServer> {
  const { calls, log, gaveUp } = options
  const state = { running: 0, lastRequestMs: Number.NEGATIVE_INFINITY }
  const app = new Koa()
  app.use(async (ctx) => {
    state.running += 1
    state.lastRequestMs = performance.now()
    try {
      await answer(ctx, calls[ctx.path], { log, gaveUp, stop: options.signal })
    } finally {
      state.running -= 1
    }
  })
  app.on('error', (error) => log.debug({ err: error }, 'reply not written'))

  const server = createSocketServer(app.callback())
  // Node would send a status of its own. dockerd takes any status but 200 for "no such volume" (promise 10).
  server.on('clientError', (error, socket) => {
    log.info({ err: error }, 'closed a connection without an answer: no whole request came')
    socket.destroy()
  })
  const { socket } = options
  if (typeof socket === 'number') await listenOnDescriptor(server, socket)
  else await listenOnSocket(server, socket)
  return {
    running: () => state.running,
    lastRequestMs: () => state.lastRequestMs,
    stopAccepting: () => void server.close(),
    async [Symbol.asyncDispose]() {
      if (!server.listening) return server.closeAllConnections()
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}

/** Handles one request. The one place where errors leave the plugin. */
async function answer(
  ctx: Context,
  call: DriverCall | undefined,
  { log, gaveUp, stop }: { log: Logger; gaveUp: (afterMs: number) => void; stop: AbortSignal },
): Promise<void> {
  // dockerd cannot repeat a POST on a kept connection that was closed under it: it would lose the request's body.
  ctx.set('Connection', 'close')
  const delivered = deliveryOf(ctx.res)
  const gone = new AbortController()
  const startMs = performance.now()
  void delivered.then((isDelivered) => {
    gone.abort()
    if (!isDelivered && !stop.aborted) gaveUp(performance.now() - startMs)
  })
  const fields: Record<string, unknown> = { call: ctx.path.slice(1) }
  try {
    if (call === undefined || ctx.method !== 'POST') {
      throw new WherryError('REQUEST_INVALID', `Wherry has no call ${ctx.method} ${ctx.path}.`)
    }
    const request = parseRequest(await readRequestBody(ctx.req, BODY_LIMIT_BYTES))
    const context = { signal: AbortSignal.any([gone.signal, stop]), delivered }
    write(ctx, 200, await call.run(request, context))
    log.debug(fields, 'call done')
  } catch (error) {
    fields.err = error
    if (gone.signal.aborted) return void log.info(fields, 'engine did not wait for the reply')
    const known = error instanceof WherryError ? error : internal(error)
    fields.code = known.code
    if (stop.aborted || (call?.answerable !== undefined && !call.answerable.includes(known.code))) {
      log.warn(fields, 'connection closed without a reply: the engine would take an error for no such volume')
      return hangUp(ctx)
    }
    if (known.code === 'INTERNAL') log.error(fields, 'call failed')
    else log.info(fields, 'call refused')
    write(ctx, 500, { Err: known.toLine() })
  }
}

/** Written whole or not at all: dockerd does not take half a reply for an error of the connection. */
function write(ctx: Context, status: number, body: object): void {
  ctx.status = status
  ctx.body = JSON.stringify(body)
  ctx.type = CONTENT_TYPE
}

function hangUp(ctx: Context): void {
  ctx.respond = false
  ctx.req.socket.destroy()
}

function deliveryOf(response: ServerResponse): Promise<boolean> {
  return new Promise((resolve) => {
    response.once('finish', () => resolve(true))
    response.once('close', () => resolve(response.writableFinished))
  })
}

function internal(error: unknown): WherryError {
  const reason = error instanceof Error ? error.message : String(error)
  return new WherryError('INTERNAL', `Wherry's plugin failed: ${reason}`, { cause: error })
}
