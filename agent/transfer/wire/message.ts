import { z } from 'zod'
import { ERROR_STATUS, type ErrorCode, WherryError } from '../../model/errors.ts'
import { requireReadable } from '../../model/format.ts'
import type { Query, TreeRequest } from '../contract.ts'
import { ProtocolViolation } from './frame.ts'
import { PROTOCOL, type ProtocolRange, requireSpoken } from './protocol.ts'
import { querySchema, volumeId } from './query-schema.ts'

/** Longest message or hint that is sent: a few sentences. At 4 bytes a character it fits an error frame. */
const TEXT_MAX_CHARS = 1_500

const hash = z.string().regex(/^[0-9a-f]{64}$/)
const want = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('live') }),
  z.object({ kind: z.literal('checkpoint'), hash }),
])

export const treeSchema = z.object({ hash })
const errorSchema = z.object({ code: z.string(), message: z.string(), hint: z.string().optional() })
const treeRequestSchema = z.object({ volume: volumeId, epoch: z.int().nonnegative(), want })
const queryRequestSchema = z.object({ question: querySchema })
const numbered = z.looseObject({ version: z.int() })

export function encodeJson(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value))
}

/** Parses and checks the JSON of a frame. Throws ProtocolViolation. */
export function decodeJson<T>(shape: z.ZodType<T>, body: Buffer): T {
  try {
    return checked(shape, JSON.parse(body.toString('utf8')))
  } catch (error) {
    if (error instanceof SyntaxError) throw new ProtocolViolation('a frame that is not JSON')
    throw error
  }
}

function checked<T>(shape: z.ZodType<T>, value: unknown): T {
  const parsed = shape.safeParse(value)
  if (!parsed.success) throw new ProtocolViolation(`an unexpected message: ${z.prettifyError(parsed.error)}`)
  return parsed.data
}

/**
 * Checks a request. What a newer version added to it is ignored.
 * Throws VERSION_SKEW for words that this version does not know, ProtocolViolation for nonsense.
 */
function understood<T>(shape: z.ZodType<T>, request: unknown): T {
  const parsed = shape.safeParse(request)
  if (!parsed.success && parsed.error.issues.every(isUnknownWord)) throw notUnderstood(parsed.error)
  return checked(shape, request)
}

/** A kind, or another word of a fixed list, that is not in the list. */
function isUnknownWord({ code }: z.core.$ZodIssue): boolean {
  return code === 'invalid_value' || code === 'invalid_union'
}

function notUnderstood(error: z.ZodError): WherryError {
  const what = error.issues.map(({ path }) => path.join('.')).join(', ')
  return new WherryError(
    'VERSION_SKEW',
    `The host that was asked runs an older version of Wherry: it does not know this request (${what}).`,
    { hint: 'Upgrade it: wherry hosts shows the versions.' },
  )
}

/** The purpose that an asking host names in its first frame. */
export type Request = { readonly tree: TreeRequest } | { readonly question: Query }

/** Encodes a request for a tree. `version`: of the protocol, as chosen by `chooseProtocol`. */
export function encodeRequest(request: TreeRequest, version: number): Buffer {
  return encodeJson({ version, ...request })
}

/** Encodes a query, as `encodeRequest`. */
export function encodeQuery(question: Query, version: number): Buffer {
  return encodeJson({ version, question })
}

/**
 * Reads the first frame of host `peer`.
 * Throws VERSION_SKEW for a version of the protocol, a request or a record that this version does not know: the
 * asking host is sent that. Throws ProtocolViolation for nonsense.
 */
export function decodeRequest(body: Buffer, peer: string, spoken: ProtocolRange = PROTOCOL): Request {
  const { version, ...request } = decodeJson(numbered, body)
  requireSpoken(version, peer, spoken)
  if (!('question' in request)) return { tree: understood(treeRequestSchema, request) }
  const { record } = z.object({ record: z.unknown() }).safeParse(request.question).data ?? {}
  requireReadable(record, `The record that ${peer} sent`)
  return understood(queryRequestSchema, request)
}

/**
 * Encodes the part of an error that other hosts may see.
 * Coded errors cross as they are. Of others only the fact crosses; their text goes to this host's log.
 */
export function encodeError(error: unknown): Buffer {
  if (!(error instanceof WherryError)) {
    return encodeJson({ code: 'INTERNAL', message: 'The other host failed.', hint: "See that host's log." })
  }
  const { code, message, hint } = error
  return encodeJson({ code, message: message.slice(0, TEXT_MAX_CHARS), hint: hint?.slice(0, TEXT_MAX_CHARS) })
}

/** Returns the error that another host reported, to be thrown here. An unknown code becomes INTERNAL. */
export function decodeError(body: Buffer, peer: string): WherryError {
  const { code, message, hint } = decodeJson(errorSchema, body)
  const more = hint === undefined ? {} : { hint }
  if (Object.hasOwn(ERROR_STATUS, code)) return new WherryError(code as ErrorCode, message, more)
  return new WherryError('INTERNAL', `${peer} reported ${code}: ${message}`, more)
}
