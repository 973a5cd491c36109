import Router from '@koa/router'
import type { Context } from 'koa'
import type { Mobility } from '../mobility/contract.ts'
import { readBody } from './http.ts'
import {
  checkMountId,
  checkName,
  createBody,
  drainBody,
  mountBody,
  parseJson,
  promoteBody,
  removeBody,
} from './input.ts'

/** The longest request (a volume's name and three numbers) is far below 1 KiB. */
const BODY_LIMIT_BYTES = 16_384
/** Prometheus' text format. */
const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

/** The routes of contract.ts: check the input, ask mobility, answer JSON. Errors go up to the server's one exit. */
export function createRoutes(mobility: Mobility, metrics: () => Promise<string>): Router {
  const router = new Router()

  router.post('/volumes', async (ctx) => {
    const { name, options } = parseJson(createBody, await readBody(ctx.req, BODY_LIMIT_BYTES))
    ctx.body = await mobility.create(checkName(name), options)
  })
  router.get('/volumes', async (ctx) => {
    ctx.body = await mobility.list()
  })
  router.get('/volumes/:name', async (ctx) => {
    ctx.body = await mobility.get(nameOf(ctx.params), clientGone(ctx))
  })
  router.delete('/volumes/:name', async (ctx) => {
    await mobility.remove(nameOf(ctx.params))
    ctx.status = 204
  })

  router.post('/volumes/:name/remove', async (ctx) => {
    const consent = parseJson(removeBody, await readBody(ctx.req, BODY_LIMIT_BYTES))
    ctx.body = await mobility.removeWith(nameOf(ctx.params), consent, clientGone(ctx))
  })

  router.post('/volumes/:name/verify', async (ctx) => {
    ctx.body = await mobility.verify(nameOf(ctx.params), clientGone(ctx))
  })

  router.post('/volumes/:name/promote', async (ctx) => {
    const { acceptLoss } = parseJson(promoteBody, await readBody(ctx.req, BODY_LIMIT_BYTES))
    ctx.body = await mobility.promote(nameOf(ctx.params), acceptLoss, clientGone(ctx))
  })

  router.put('/volumes/:name/mounts/:id', async (ctx) => {
    const { deadlineMs } = parseJson(mountBody, await readBody(ctx.req, BODY_LIMIT_BYTES))
    ctx.body = await mobility.mount(nameOf(ctx.params), mountIdOf(ctx.params), deadlineMs)
  })
  router.delete('/volumes/:name/mounts/:id', async (ctx) => {
    await mobility.unmount(nameOf(ctx.params), mountIdOf(ctx.params))
    ctx.status = 204
  })

  router.post('/drain', async (ctx) => {
    const { on } = parseJson(drainBody, await readBody(ctx.req, BODY_LIMIT_BYTES))
    ctx.body = await mobility.drain(on)
  })
  router.post('/recover', async (ctx) => {
    ctx.body = await mobility.recover(clientGone(ctx))
  })

  router.get('/hosts', async (ctx) => {
    ctx.body = await mobility.hosts()
  })
  router.get('/moves', async (ctx) => {
    ctx.body = await mobility.moves()
  })
  router.get('/health', async (ctx) => {
    ctx.body = await mobility.health()
  })
  router.get('/metrics', async (ctx) => {
    ctx.type = METRICS_TYPE
    ctx.body = await metrics()
  })
  return router
}

type Params = Record<string, string | undefined>

function nameOf(params: Params): string {
  return checkName(params.name ?? '')
}

function mountIdOf(params: Params): string {
  return checkMountId(params.id ?? '')
}

/** Aborts when the client hung up before it got its answer. */
function clientGone(ctx: Context): AbortSignal {
  const controller = new AbortController()
  ctx.res.once('close', () => {
    if (!ctx.res.writableFinished) controller.abort()
  })
  return controller.signal
}
