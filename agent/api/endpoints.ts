import type { z } from 'zod'
import type { Mobility } from '../mobility/contract.ts'
import type { Zod } from '../model/option-row.ts'
import { optionFields } from '../model/volume-options.ts'
import { checkMountId, checkName } from './input.ts'

/** Docker waits 120 s for a Mount. Twice that leaves room for other clients, and no request waits forever. */
const LONGEST_DEADLINE_MS = 240_000
/** Prometheus' text format. */
const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

/** What carries the calls out. */
export interface Backend {
  readonly mobility: Mobility
  /** The text of a scrape. */
  readonly metrics: () => Promise<string>
}

/** Names of the parameters in a path, in order: "/volumes/:name/mounts/:id" has name and id. */
type ParameterNames<Path extends string> = Path extends `${string}/:${infer Name}/${infer Rest}`
  ? [Name, ...ParameterNames<`/${Rest}`>]
  : Path extends `${string}/:${infer Name}`
    ? [Name]
    : []

type Strings<Names extends string[]> = { [I in keyof Names]: string }

/** One row of the table of API calls. */
export interface ApiCall<Path extends string, Body, Output> {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  readonly path: Path
  /** Schema of the JSON body; missing: the call has none. */
  readonly body?: (zod: Zod) => z.ZodType<Body>
  /** Carries the call out. `signal` aborts when the client has hung up. */
  readonly call: (
    backend: Backend & { readonly signal: AbortSignal },
    parameters: Readonly<Record<ParameterNames<Path>[number], string>>,
    body: Body,
  ) => Promise<Output>
  /** Content type of a text response; missing: the response is JSON, or empty with status 204. */
  readonly textType?: string
}

/** The client's side of a row: parameters of the path, the body if there is one, and a signal to stop waiting. */
export type ClientCall<Row> =
  Row extends ApiCall<infer Path, infer Body, infer Output>
    ? (
        ...args: [
          ...Strings<ParameterNames<Path>>,
          ...(Row extends { readonly body: unknown } ? [body: Body] : []),
          signal: AbortSignal,
        ]
      ) => Promise<Output>
    : never

/** Checks of the parameters in paths. */
export const PARAMETER_CHECKS: Readonly<Record<string, (text: string) => string>> = {
  name: checkName,
  id: checkMountId,
}

/** Gives a row its types. */
function withBody<const Path extends string, Body, Output>(
  row: ApiCall<Path, Body, Output> & { readonly body: (zod: Zod) => z.ZodType<Body> },
) {
  return row
}

/** Gives a row without a body its types. */
function plain<const Path extends string, Output>(row: Omit<ApiCall<Path, undefined, Output>, 'body'>) {
  return row
}

/**
 * The agent's API: HTTP on a unix socket. Its clients are the plugin and the command line. Routes and client are made
 * from this table; a new call is a row here and its implementation.
 *
 * Every call may be repeated. Errors are an ErrorBody with the status of ERROR_STATUS.
 */
export const ENDPOINTS = {
  /** Repeated with the same options: returns the volume. VOLUME_EXISTS with other options. */
  create: withBody({
    method: 'POST',
    path: '/volumes',
    body: (zod) => zod.strictObject({ name: zod.string(), options: zod.strictObject(optionFields(zod)) }),
    call: ({ mobility }, _, { name, options }) => mobility.create(checkName(name), options),
  }),
  list: plain({ method: 'GET', path: '/volumes', call: ({ mobility }) => mobility.list() }),
  get: plain({
    method: 'GET',
    path: '/volumes/:name',
    call: ({ mobility, signal }, { name }) => mobility.get(name, signal),
  }),
  remove: plain({ method: 'DELETE', path: '/volumes/:name', call: ({ mobility }, { name }) => mobility.remove(name) }),
  /** As `remove`, with what the operator accepts. */
  removeWith: withBody({
    method: 'POST',
    path: '/volumes/:name/remove',
    body: (zod) => zod.strictObject({ force: zod.boolean(), acceptLoss: zod.boolean() }),
    call: ({ mobility, signal }, { name }, consent) => mobility.removeWith(name, consent, signal),
  }),
  mount: withBody({
    method: 'PUT',
    path: '/volumes/:name/mounts/:id',
    body: (zod) => zod.strictObject({ deadlineMs: zod.int().min(0).max(LONGEST_DEADLINE_MS) }),
    call: ({ mobility }, { name, id }, { deadlineMs }) => mobility.mount(name, id, deadlineMs),
  }),
  unmount: plain({
    method: 'DELETE',
    path: '/volumes/:name/mounts/:id',
    call: ({ mobility }, { name, id }) => mobility.unmount(name, id),
  }),
  /** Reads this host's copy again, all of it. */
  verify: plain({
    method: 'POST',
    path: '/volumes/:name/verify',
    call: ({ mobility, signal }, { name }) => mobility.verify(name, signal),
  }),
  /** Takes a volume over from a holder that is lost or cannot release it. */
  promote: withBody({
    method: 'POST',
    path: '/volumes/:name/promote',
    body: (zod) => zod.strictObject({ acceptLoss: zod.boolean() }),
    call: ({ mobility, signal }, { name }, { acceptLoss }) => mobility.promote(name, acceptLoss, signal),
  }),
  /** Starts or ends the drain of this host. Again: returns how far it is. */
  drain: withBody({
    method: 'POST',
    path: '/drain',
    body: (zod) => zod.strictObject({ on: zod.boolean() }),
    call: ({ mobility }, _, { on }) => mobility.drain(on),
  }),
  /** Rebuilds the records of a lost registry from the disks of all hosts. */
  recover: plain({ method: 'POST', path: '/recover', call: ({ mobility, signal }) => mobility.recover(signal) }),
  hosts: plain({ method: 'GET', path: '/hosts', call: ({ mobility }) => mobility.hosts() }),
  /** Running copies to this host, and the last that ended. */
  moves: plain({ method: 'GET', path: '/moves', call: ({ mobility }) => mobility.moves() }),
  health: plain({ method: 'GET', path: '/health', call: ({ mobility }) => mobility.health() }),
  /** Documented in docs/metrics.md. */
  metrics: plain({ method: 'GET', path: '/metrics', textType: METRICS_TYPE, call: ({ metrics }) => metrics() }),
}
