import { once } from 'node:events'
import { type IncomingMessage, request as requestOver } from 'node:http'
import { dirname } from 'node:path'
import { text as textOf } from 'node:stream/consumers'
import { type AgentEnd, readAgentEnd } from '../host/agent-end.ts'
import { ERROR_STATUS, type ErrorCode, WherryError } from '../model/errors.ts'
import type { AgentApi, ErrorBody } from './contract.ts'
import { type ApiCall, ENDPOINTS } from './endpoints.ts'

type Row = ApiCall<string, unknown, unknown>

interface Request {
  readonly method: Row['method']
  readonly path: string
  readonly body: unknown
}

/**
 * Creates a client of this host's agent. Errors of the agent come out as the WherryError they went in as.
 * AGENT_UNAVAILABLE: no response came, and the call may or may not have been carried out. Every call may be repeated.
 * Its message repeats the agent's last words, which `lastEnd` returns.
 * A call rejects with the signal's reason when `signal` aborts. It has no time limit of its own.
 */
export function createAgentClient(
  socketPath: string,
  lastEnd: () => Promise<AgentEnd | null> = () => readAgentEnd(dirname(socketPath)),
): AgentApi & AsyncDisposable {
  const closing = new AbortController()

  async function send(row: Row, request: Request, signal: AbortSignal): Promise<unknown> {
    try {
      const { status, text } = await exchange(socketPath, request, AbortSignal.any([signal, closing.signal]))
      if (status >= 400) throw toError(text)
      return row.textType === undefined ? readJson(text) : text
    } catch (error) {
      if (error instanceof WherryError) throw error
      signal.throwIfAborted()
      throw unavailable(error, await lastEnd())
    }
  }

  const toCall =
    (row: Row) =>
    (...args: unknown[]) =>
      send(row, requestOf(row, args), args.at(-1) as AbortSignal)
  const calls = Object.entries(ENDPOINTS).map(([name, row]) => [name, toCall(row as Row)] as const)
  return {
    // The types of the calls come from the same rows.
    ...(Object.fromEntries(calls) as object as AgentApi),
    [Symbol.asyncDispose]: async () => closing.abort(new Error('the client was closed')),
  }
}

/** Puts the arguments of a ClientCall into the path and the body. */
function requestOf({ method, path, body }: Row, args: readonly unknown[]): Request {
  const values = args.slice(0, -1)
  const filled = path.replaceAll(/:\w+/g, () => encodeURIComponent(String(values.shift())))
  return { method, path: filled, body: body && values[0] }
}

/** Uses one connection per request: a kept one would be dead after the agent's next restart. */
async function exchange(
  socketPath: string,
  { method, path, body }: Request,
  signal: AbortSignal,
): Promise<{ status: number; text: string }> {
  const json = body === undefined ? '' : JSON.stringify(body)
  const headers = json === '' ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(json) }
  const request = requestOver({ socketPath, method, path, headers, signal, agent: false })
  // It may fail once more after the response has begun. Reading the response reports that.
  request.on('error', () => undefined)
  request.end(json)
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  return { status: response.statusCode ?? 0, text: await textOf(response) }
}

function readJson(text: string): unknown {
  return text === '' ? undefined : JSON.parse(text)
}

/** Reads the error of a response. A response in any other form counts as no response. */
function toError(text: string): WherryError {
  const { error } = JSON.parse(text) as Partial<ErrorBody>
  if (error === undefined) throw new Error('the response is not in the form of the API')
  const code: ErrorCode = Object.hasOwn(ERROR_STATUS, error.code) ? error.code : 'INTERNAL'
  return new WherryError(code, error.message, error.hint === undefined ? {} : { hint: error.hint })
}

function unavailable(cause: unknown, end: AgentEnd | null): WherryError {
  const what = `Wherry's agent on this host does not reply (${reasonOf(cause)}).`
  if (end === null) {
    const hint = "It is restarted automatically. If this lasts, look for wherry in the engine's log."
    return new WherryError('AGENT_UNAVAILABLE', what, { hint, cause })
  }
  const hint = 'It is restarted automatically, once that is mended.'
  return new WherryError('AGENT_UNAVAILABLE', `${what} It ended at ${end.at}: ${end.why}`, { hint, cause })
}

function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  return code === 'ENOENT' || code === 'ECONNREFUSED' ? 'it is not running' : message
}
