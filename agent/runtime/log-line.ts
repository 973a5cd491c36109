import { ERROR_STATUS, WherryError } from '../model/errors.ts'

/** Every line begins with it: one grep finds all of them in the engine's log. */
const WORD = 'wherry'

/** Longest value of a field. The engine cuts a line at 64 KiB, and nobody reads that far. */
const VALUE_MOST_CHARACTERS = 4_000

/** What a line says of an error. The stack of an error that has a code says nothing to the operator. */
export interface LoggedError {
  readonly code?: string
  readonly text: string
  readonly cause?: string
  readonly stack?: string
}

/** Describes an error for the log. Only what nobody expected has a stack: an error without one of our codes. */
export function describeError(error: unknown): LoggedError {
  if (!(error instanceof Error)) return { text: String(error) }
  if (!isExpected(error)) return { text: error.message, stack: error.stack ?? '' }
  const text = error.toLine()
  const { code, cause } = error
  if (!(cause instanceof Error) || text.includes(cause.message)) return { code, text }
  return { code, text, cause: cause.message }
}

function isExpected(error: Error): error is WherryError {
  return error instanceof WherryError && error.code !== 'INTERNAL' && Object.hasOwn(ERROR_STATUS, error.code)
}

/**
 * Prints one event as a line: `wherry LEVEL TIME PART: event name=value ...`.
 * It has no double quotes, because the engine would escape each of them. A stack is printed at level ERROR only.
 */
export function formatLine(json: string): string {
  const { level, time, part, msg = '', err, ...fields } = JSON.parse(json) as Readonly<Record<string, unknown>>
  const error = err as LoggedError | undefined
  const named: Readonly<Record<string, unknown>> = {
    ...fields,
    ...(error === undefined ? {} : { code: error.code ?? fields.code, err: error.text, cause: error.cause }),
    ...(level === 'error' || level === 'fatal' ? { stack: error?.stack } : {}),
  }
  const shown = Object.entries(named).flatMap(([name, value]) => (value == null ? [] : [`${name}=${show(value)}`]))
  return `${[WORD, String(level).toUpperCase(), time, `${part}:`, plain(String(msg)), ...shown].join(' ')}\n`
}

function show(value: unknown): string {
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return show(value.join(', '))
  const text = plain(typeof value === 'string' ? value : JSON.stringify(value))
  const short = text.length > VALUE_MOST_CHARACTERS ? `${text.slice(0, VALUE_MOST_CHARACTERS)}...` : text
  return /^[^\s']+$/.test(short) ? short : `'${short.replaceAll("'", '`')}'`
}

/** Keeps an event on one line, whatever a name or a path has in it. */
function plain(text: string): string {
  return text
    .replaceAll(/\n\s+at /g, ' <- ')
    .replaceAll(/\p{Cc}+/gu, ' ')
    .replaceAll('"', '`')
}
