import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import Koa from 'koa'
import type { Logger } from 'pino'
import type { Mobility } from '../mobility/contract.ts'
import { ERROR_STATUS, WherryError } from '../model/errors.ts'
import type { ErrorBody } from './contract.ts'
import { createSocketServer, listenOnSocket } from './http.ts'
import { createRoutes } from './routes.ts'

/** Time for running requests to finish at shutdown. A Mount that waits longer is cut, and the plugin repeats it. */
const SHUTDOWN_GRACE_MS = 1_000

/**
 * Serves the agent's API on a unix socket (mode 0600) until disposed. Returns when it accepts connections.
 * STATE_LOCKED: another agent serves the socket.
 */
export async function serveApi(options: {
  mobility: Mobility
  /** The text of a scrape. */
  metrics: () => Promise<string>
  socketPath: string
  log: Logger
}): Promise<AsyncDisposable> {
  const app = new Koa()
  app.use(answerErrors(options.log))
  app.use(createRoutes(options).routes())
  app.use((ctx) => {
    throw new WherryError('REQUEST_INVALID', `The agent has no ${ctx.method} ${ctx.path}.`)
  })
  // Koa would print it: a connection that broke while a response was written.
  app.on('error', (error) => options.log.debug({ err: error }, 'response not written'))

  const server = createSocketServer(app.callback())
  await listenOnSocket(server, options.socketPath)
  return {
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close')
      server.close()
      server.closeIdleConnections()
      await Promise.race([closed, sleep(SHUTDOWN_GRACE_MS, undefined, { ref: false })])
      server.closeAllConnections()
      await closed
    },
  }
}

/** The one place where errors leave the agent: those with a code as they are, all others as INTERNAL. */
function answerErrors(log: Logger): Koa.Middleware {
  return async (ctx, next) => {
    try {
      await next()
    } catch (error) {
      const known = error instanceof WherryError ? error : internal(error)
      const fields = { request: `${ctx.method} ${ctx.path}`, code: known.code, err: error }
      if (known.code === 'INTERNAL') log.error(fields, 'request failed')
      else log.debug(fields, 'request refused')
      ctx.status = ERROR_STATUS[known.code]
      ctx.body = toBody(known)
    }
  }
}

function internal(error: unknown): WherryError {
  const reason = error instanceof Error ? error.message : String(error)
  return new WherryError('INTERNAL', `The agent failed: ${reason}`, {
    cause: error,
    hint: "This is a bug of Wherry; the agent's log has the details.",
  })
}

function toBody({ code, message, hint }: WherryError): ErrorBody {
  return { error: { code, message, ...(hint === undefined ? {} : { hint }) } }
}
