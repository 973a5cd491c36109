import { type Logger, pino } from 'pino'
import { isBug } from './bug.ts'

const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const

/** Returns a log that calls `failed` for each programming error that is logged, and `trace` for each line. */
export function checkingLogger(
  who: string,
  failed: (text: string) => void,
  trace: ((who: string, what: string) => void) | null,
): Logger {
  const line = (level: string) => (about: unknown, text?: string) => {
    const error = about instanceof Error ? about : errorOf(about)
    if (isBug(error)) failed(`${who} logs ${error.stack}`)
    trace?.(who, `${level}: ${text ?? ''} ${describe(about)}`)
  }
  const log = pino({ level: 'silent' })
  for (const level of LEVELS) log[level] = line(level)
  return Object.assign(log, { child: () => log })
}

function errorOf(about: unknown): unknown {
  return typeof about === 'object' && about !== null && 'err' in about ? about.err : undefined
}

function describe(about: unknown): string {
  if (typeof about !== 'object' || about === null) return String(about)
  return JSON.stringify(about, (_key, value) => (value instanceof Error ? `${value.name}: ${value.message}` : value))
}
