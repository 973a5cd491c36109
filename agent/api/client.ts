import { once } from 'node:events'
import { type IncomingMessage, request as requestOver } from 'node:http'
import { text as textOf } from 'node:stream/consumers'
import { ERROR_STATUS, type ErrorCode, WherryError } from '../model/errors.ts'
import type {
  AgentApi,
  DrainView,
  ErrorBody,
  Health,
  HostView,
  MountAnswer,
  MoveView,
  PromotionView,
  RecoverView,
  RemovalView,
  VerifyView,
  VolumeView,
} from './contract.ts'

interface Request {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  readonly path: string
  readonly body?: unknown
  readonly signal: AbortSignal
}

/**
 * A client of the agent on this host. Errors of the agent come out as the WherryError they went in as;
 * AGENT_UNAVAILABLE means that no answer came (the request may or may not have been carried out; every one may be
 * repeated). A call rejects with the signal's reason when `signal` aborts; it has no time limit of its own.
 */
export function createAgentClient(socketPath: string): AgentApi & AsyncDisposable {
  const closing = new AbortController()

  async function send(request: Request, read: (text: string) => unknown = readJson): Promise<unknown> {
    const { signal } = request
    try {
      const { status, text } = await exchange(socketPath, request, AbortSignal.any([signal, closing.signal]))
      if (status >= 400) throw toError(text)
      return read(text)
    } catch (error) {
      if (error instanceof WherryError) throw error
      signal.throwIfAborted()
      throw new WherryError('AGENT_UNAVAILABLE', `Wherry's agent on this host does not answer (${reasonOf(error)}).`, {
        hint: "It is restarted by itself; if this lasts, look into the plugin's log.",
        cause: error,
      })
    }
  }

  const volume = (name: string) => `/volumes/${encodeURIComponent(name)}`
  const mount = (name: string, id: string) => `${volume(name)}/mounts/${encodeURIComponent(id)}`
  return {
    create: async (name, options, signal) =>
      (await send({ method: 'POST', path: '/volumes', body: { name, options }, signal })) as VolumeView,
    get: async (name, signal) => (await send({ method: 'GET', path: volume(name), signal })) as VolumeView,
    list: async (signal) => (await send({ method: 'GET', path: '/volumes', signal })) as VolumeView[],
    remove: async (name, signal) => void (await send({ method: 'DELETE', path: volume(name), signal })),
    removeWith: async (name, { force, acceptLoss }, signal) =>
      (await send({
        method: 'POST',
        path: `${volume(name)}/remove`,
        body: { force, acceptLoss },
        signal,
      })) as RemovalView,
    mount: async (name, id, deadlineMs, signal) =>
      (await send({ method: 'PUT', path: mount(name, id), body: { deadlineMs }, signal })) as MountAnswer,
    unmount: async (name, id, signal) => void (await send({ method: 'DELETE', path: mount(name, id), signal })),
    verify: async (name, signal) =>
      (await send({ method: 'POST', path: `${volume(name)}/verify`, signal })) as VerifyView,
    promote: async (name, acceptLoss, signal) =>
      (await send({ method: 'POST', path: `${volume(name)}/promote`, body: { acceptLoss }, signal })) as PromotionView,
    drain: async (on, signal) => (await send({ method: 'POST', path: '/drain', body: { on }, signal })) as DrainView,
    recover: async (signal) => (await send({ method: 'POST', path: '/recover', signal })) as RecoverView,
    hosts: async (signal) => (await send({ method: 'GET', path: '/hosts', signal })) as HostView[],
    moves: async (signal) => (await send({ method: 'GET', path: '/moves', signal })) as MoveView[],
    metrics: async (signal) => (await send({ method: 'GET', path: '/metrics', signal }, String)) as string,
    health: async (signal) => (await send({ method: 'GET', path: '/health', signal })) as Health,
    [Symbol.asyncDispose]: async () => closing.abort(new Error('the client was closed')),
  }
}

/** One connection per request: a kept one would be dead after the agent's next restart. */
async function exchange(
  socketPath: string,
  { method, path, body }: Request,
  signal: AbortSignal,
): Promise<{ status: number; text: string }> {
  const json = body === undefined ? '' : JSON.stringify(body)
  const headers = json === '' ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(json) }
  const request = requestOver({ socketPath, method, path, headers, signal, agent: false })
  // It may fail once more after its answer has begun: reading the answer tells.
  request.on('error', () => undefined)
  request.end(json)
  const [answer] = (await once(request, 'response')) as [IncomingMessage]
  return { status: answer.statusCode ?? 0, text: await textOf(answer) }
}

function readJson(text: string): unknown {
  return text === '' ? undefined : JSON.parse(text)
}

/** The error an answer carries. An answer that is not the agent's own form counts as none. */
function toError(text: string): WherryError {
  const { error } = JSON.parse(text) as Partial<ErrorBody>
  if (error === undefined) throw new Error('the answer is not in the form of the API')
  const code: ErrorCode = Object.hasOwn(ERROR_STATUS, error.code) ? error.code : 'INTERNAL'
  return new WherryError(code, error.message, error.hint === undefined ? {} : { hint: error.hint })
}

function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  return code === 'ENOENT' || code === 'ECONNREFUSED' ? 'it is not running' : message
}
