import { isIP } from 'node:net'
import { z } from 'zod'
import { parseDurationMs } from '../model/duration.ts'

/** With a lower rate one frame of a copy takes longer than a peer waits for data. */
const SMALLEST_BANDWIDTH = 100_000
const UNIT_BYTES: Readonly<Record<string, number>> = { kB: 1e3, MB: 1e6, GB: 1e9 }

interface Setting<T> {
  /** The value that an empty setting stands for. */
  readonly fallback: string
  readonly schema: z.ZodType<T, string>
}

/**
 * Creates a setting whose empty value means `fallback`. `parse` returns undefined for a wrong value.
 * The complaint is then "must be WHAT, for example EXAMPLE", and the value with its passwords hidden.
 */
export function setting<T>(fallback: string, what: string, example: string, parse: (text: string) => T | undefined) {
  const schema = z.string().transform((text, context): T => {
    const value = parse(text)
    if (value !== undefined) return value
    context.addIssue({
      code: 'custom',
      message: `must be ${what}, for example ${example}; it is "${withoutSecrets(text)}"`,
    })
    return z.NEVER
  })
  return { fallback, schema } satisfies Setting<T>
}

/** Hides the password of a NATS URL: complaints are logged. */
function withoutSecrets(text: string): string {
  return text.replaceAll(/\/\/[^@,]*@/g, '//***@')
}

/** A setting that is a TCP port. */
export const port = (fallback: string) => setting(fallback, 'a port from 1 to 65535', fallback, parsePort)

/** A setting that is a time with its unit; `what` describes the accepted values. */
export const duration = (fallback: string, what: string, atLeastMs: number, atMostMs: number) =>
  setting(fallback, `a time ${what}`, fallback, (text) => {
    const ms = parseDurationMs(text)
    return ms !== undefined && ms >= atLeastMs && ms <= atMostMs ? ms : undefined
  })

function parsePort(text: string): number | undefined {
  const value = Number(text)
  return /^\d+$/.test(text) && value >= 1 && value <= 65_535 ? value : undefined
}

/** Parses "20%" into 0.2, from 1% to 100%; undefined for anything else. */
export function parseShare(text: string): number | undefined {
  const [, percent] = /^(\d+)%$/.exec(text) ?? []
  const share = Number(percent) / 100
  return share >= 0.01 && share <= 1 ? share : undefined
}

/** Parses bytes per second, null for no limit; undefined for anything else. */
export function parseBandwidth(text: string): number | null | undefined {
  if (text === '') return null
  const [, amount, unit] = /^(\d+(?:\.\d+)?) ?([kMG]B)\/s$/.exec(text) ?? []
  if (amount === undefined || unit === undefined) return undefined
  const bytes = Math.round(Number(amount) * (UNIT_BYTES[unit] ?? NaN))
  return bytes >= SMALLEST_BANDWIDTH && Number.isSafeInteger(bytes) ? bytes : undefined
}

/**
 * Parses an IP address or a DNS name; undefined for anything else.
 * Returns lower case: addresses are compared, and neither DNS names nor IPv6 addresses are case-sensitive.
 */
export function parseAddress(text: string): string | undefined {
  const isName =
    text.length <= 253 && /^[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9])?)*$/i.test(text)
  const looksLikeIpv4 = /^[\d.]+$/.test(text)
  return isIP(text) !== 0 || (isName && !looksLikeIpv4) ? text.toLowerCase() : undefined
}

/** Returns the text itself if it is the URL of a NATS server; undefined for anything else. */
export function parseNatsUrl(text: string): string | undefined {
  const url = URL.parse(text)
  return url !== null && ['nats:', 'tls:'].includes(url.protocol) && url.hostname !== '' ? text : undefined
}

/** Like `parse`, but accepts an empty text. */
export function emptyOr(parse: (text: string) => string | undefined) {
  return (text: string) => (text === '' ? '' : parse(text))
}

/**
 * Parses a comma-separated list without doubles.
 * Spaces around items and an empty list are accepted, empty items are not.
 */
export function listOf(parse: (text: string) => string | undefined) {
  return (text: string): string[] | undefined => {
    if (text === '') return []
    const items = text.split(',').map((item) => parse(item.trim()))
    const good = items.filter((item) => item !== undefined)
    return good.length === items.length && new Set(good).size === good.length ? good : undefined
  }
}
