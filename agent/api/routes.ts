import Router from '@koa/router'
import type { Context } from 'koa'
import { z } from 'zod'
import { type ApiCall, type Backend, ENDPOINTS, PARAMETER_CHECKS } from './endpoints.ts'
import { readRequestBody } from './http.ts'
import { parseJson } from './input.ts'

/** The longest request (a volume's name and its options) is far below 1 KiB. */
const BODY_LIMIT_BYTES = 16_384

/** Creates a route for each row of ENDPOINTS: checks the input, makes the call, writes the response. */
export function createRoutes(backend: Backend): Router {
  const router = new Router()
  for (const row of Object.values(ENDPOINTS)) addRoute(router, row as ApiCall<string, unknown, unknown>, backend)
  return router
}

function addRoute(router: Router, row: ApiCall<string, unknown, unknown>, backend: Backend): void {
  const { method, path, call, textType } = row
  const schema = row.body?.(z)
  router.register(path, [method], async (ctx) => {
    const body = schema && parseJson(schema, await readRequestBody(ctx.req, BODY_LIMIT_BYTES))
    const output = await call({ ...backend, signal: clientGone(ctx) }, checked(ctx.params), body)
    if (output === undefined) ctx.status = 204
    else ctx.body = output
    if (textType !== undefined) ctx.type = textType
  })
}

function checked(parameters: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const entries = Object.entries(parameters)
  return Object.fromEntries(entries.map(([name, text = '']) => [name, PARAMETER_CHECKS[name]?.(text) ?? text]))
}

/** Aborts when the client hangs up before it has the response. */
function clientGone(ctx: Context): AbortSignal {
  const controller = new AbortController()
  ctx.res.once('close', () => {
    if (!ctx.res.writableFinished) controller.abort()
  })
  return controller.signal
}
