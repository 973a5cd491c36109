import { z } from 'zod'
import { ERROR_STATUS, type ErrorCode, WherryError } from '../../model/errors.ts'
import type { Query, TreeRequest } from '../contract.ts'
import { ProtocolViolation } from './frame.ts'
import { querySchema, volumeId } from './query-schema.ts'

/** Increases when a frame changes its meaning. Both sides send theirs first and refuse any other. */
export const PROTOCOL_VERSION = 5

/** Longest message or hint that is sent: a few sentences. At 4 bytes a character it fits an error frame. */
const TEXT_MAX_CHARS = 1_500

const hash = z.string().regex(/^[0-9a-f]{64}$/)
const want = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('live') }),
  z.strictObject({ kind: z.literal('checkpoint'), hash }),
])

export const helloSchema = z.object({ version: z.number().int() })
export const treeSchema = z.strictObject({ hash })
const errorSchema = z.strictObject({ code: z.string(), message: z.string(), hint: z.string().optional() })
const treeRequestSchema = z.strictObject({ volume: volumeId, epoch: z.int().nonnegative(), want })
const queryRequestSchema = z.strictObject({ question: querySchema })

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

/** The purpose that an asking host names in its first frame. */
export type Request = { readonly tree: TreeRequest } | { readonly question: Query }

export function encodeRequest(request: TreeRequest): Buffer {
  return encodeJson({ version: PROTOCOL_VERSION, ...request })
}

export function encodeQuery(question: Query): Buffer {
  return encodeJson({ version: PROTOCOL_VERSION, question })
}

/**
 * Reads the first frame. Throws REQUEST_INVALID for another version of the protocol, ProtocolViolation for nonsense.
 * The asking host is sent the first.
 */
export function decodeRequest(body: Buffer): Request {
  const { version, ...request } = decodeJson(z.looseObject(helloSchema.shape), body)
  if (version !== PROTOCOL_VERSION) throw wrongVersion(version)
  return 'question' in request ? checked(queryRequestSchema, request) : { tree: checked(treeRequestSchema, request) }
}

export function wrongVersion(version: number): WherryError {
  return new WherryError(
    'REQUEST_INVALID',
    `The other host speaks version ${version} of the transfer protocol, this one version ${PROTOCOL_VERSION}.`,
    { hint: 'Run the same version of Wherry on all hosts.' },
  )
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
