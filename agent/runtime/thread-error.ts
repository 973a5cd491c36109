import { ERROR_STATUS, type ErrorCode, WherryError } from '../model/errors.ts'
import { SystemCallError } from '../sys/failure.ts'

/** An error on its way between threads: a structured clone keeps neither class nor code. */
export interface PackedError {
  readonly name: string
  readonly message: string
  readonly stack?: string
  /** One of Wherry's codes, or Node's name of an errno. */
  readonly code?: string
  readonly hint?: string
  readonly system?: { readonly call: string; readonly path: string; readonly errno: string }
  readonly cause?: PackedError
}

/** Causes of causes that are kept: chains are three deep at most, and a circular one must end. */
const CAUSES_MAX = 5

/** Returns the error in a form that can be cloned. */
export function packError(error: unknown, causesLeft = CAUSES_MAX): PackedError {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) }
  const { name, message, stack, cause } = error
  const { code } = error as { code?: unknown }
  return {
    name,
    message,
    ...(stack === undefined ? {} : { stack }),
    ...(typeof code === 'string' ? { code } : {}),
    ...(error instanceof WherryError && error.hint !== undefined ? { hint: error.hint } : {}),
    ...(error instanceof SystemCallError ? { system: { call: error.call, path: error.path, errno: error.errno } } : {}),
    ...(cause === undefined || causesLeft === 0 ? {} : { cause: packError(cause, causesLeft - 1) }),
  }
}

/** Returns the error as it was thrown in the other thread: class, code, hint, errno, causes and stack. */
export function unpackError(packed: PackedError): Error {
  const error = revive(packed)
  if (packed.stack !== undefined) error.stack = packed.stack
  return error
}

function revive({ name, message, code, hint, system, cause: packedCause }: PackedError): Error {
  if (system !== undefined) return new SystemCallError(system.call, system.path, system.errno)
  const cause = packedCause === undefined ? undefined : unpackError(packedCause)
  if (isOurs(name, code)) {
    return new WherryError(code, message, { ...(hint === undefined ? {} : { hint }), cause })
  }
  const error = new Error(message, cause === undefined ? undefined : { cause })
  return Object.assign(error, { name }, code === undefined ? {} : { code })
}

function isOurs(name: string, code: string | undefined): code is ErrorCode {
  return name === 'WherryError' && code !== undefined && Object.hasOwn(ERROR_STATUS, code)
}
