import type { z } from 'zod'
import { DAY_MS, parseDurationMs } from './duration.ts'
import { WherryError } from './errors.ts'
import { idOption, type OptionRow, wordOption, type Zod } from './option-row.ts'

const HIGHEST_MODE = 0o7777
/** Clusters of this kind have fewer hosts. */
const MOST_COPIES = 9
/** With a shorter interval checkpoints would do nothing but pause containers. */
const SHORTEST_CHECKPOINT_MS = 1_000
const LONGEST_CHECKPOINT_MS = DAY_MS
/** What `auto` means: where the kernel reports which parts were written, and where changed files are read whole. */
const AUTO_TRACKED_MS = 2_000
const AUTO_SCANNED_MS = 10_000

const mode: OptionRow<number> = {
  schema: (zod) => zod.int().min(0).max(HIGHEST_MODE),
  accepts: `an octal number from 0 to ${HIGHEST_MODE.toString(8)}`,
  example: '0750',
  parse: (text) => (/^0{0,2}[0-7]{1,4}$/.test(text) ? Number.parseInt(text, 8) : undefined),
  show: (bits) => bits.toString(8).padStart(4, '0'),
  fallback: 0o755,
  inEveryRecord: true,
}

const copies: OptionRow<number> = {
  schema: (zod) => zod.int().min(1).max(MOST_COPIES),
  accepts: `a number from 1 to ${MOST_COPIES}`,
  example: '2',
  parse: (text) => (/^\d+$/.test(text) && isWithin(Number(text), 1, MOST_COPIES) ? Number(text) : undefined),
  show: String,
  fallback: 2,
}

const checkpointMs: OptionRow<number | 'auto' | null> = {
  flag: 'checkpoint',
  schema: (zod) =>
    zod.union([zod.int().min(SHORTEST_CHECKPOINT_MS).max(LONGEST_CHECKPOINT_MS), zod.literal('auto')]).nullable(),
  accepts: 'a time from 1s to 24h, auto or off',
  example: '10s',
  parse: parseCheckpoint,
  show: (value) => (value === null ? 'off' : value === 'auto' ? 'auto' : `${value / 1000}s`),
  fallback: 'auto',
}

/**
 * Every option of `docker volume create -o`, in the order in which they are shown. A new option is a row here, a row of
 * the options table in README.md, and its use.
 */
const TABLE = {
  /** Owner of the volume's root directory when it is first made. */
  uid: idOption(),
  gid: idOption(),
  /** Permission bits of the volume's root directory when it is first made, 0 to 0o7777. */
  mode,
  /** How many hosts should have the data, the holder included; fewer if there are fewer hosts. 1: only the holder. */
  copies,
  /** Wanted age of the newest checkpoint while the volume is held (see checkpointTargetMs); null: none is taken. */
  checkpointMs,
  /** `pause`: containers are frozen for the last part of a checkpoint; `live`: they run, and it may be fuzzy. */
  consistency: wordOption('pause', 'live'),
  /** `manual`: another host takes over only when an operator says so (`wherry promote`). */
  failover: wordOption('auto', 'manual'),
  /** `continue`: a holder that is cut off keeps running, and no host takes over by itself. */
  onIsolation: { flag: 'on_isolation', ...wordOption('pause', 'continue') },
} as const

type ValueOf<Row> = Row extends OptionRow<infer T> ? T : never

/** Options a volume is created with. They never change afterwards. */
export type VolumeOptions = { readonly [K in keyof typeof TABLE]: ValueOf<(typeof TABLE)[K]> }

type Key = keyof VolumeOptions
type Fields = { [K in Key]: z.ZodType<VolumeOptions[K]> }
type Writable<T> = { -readonly [K in keyof T]: T[K] }

const ROWS: { readonly [K in Key]: OptionRow<VolumeOptions[K]> } = TABLE
const KEYS = Object.keys(TABLE) as Key[]

/** The options of a volume that is created without any. */
export const DEFAULT_OPTIONS: VolumeOptions = fallbacks()

/** The fields of options in a schema. A missing one gets its fallback, except those that every record has. */
export function optionFields(zod: Zod): Fields {
  const fields = {} as Record<Key, z.ZodType>
  for (const key of KEYS) {
    const { schema, fallback, inEveryRecord } = ROWS[key]
    fields[key] = inEveryRecord ? schema(zod) : schema(zod).prefault(fallback)
  }
  return fields as Fields
}

/** Parses Docker's `-o key=value` pairs. Throws OPTION_INVALID, which names all that is wrong and what is accepted. */
export function parseOptions(given: Readonly<Record<string, string>>): VolumeOptions {
  const options: Writable<VolumeOptions> = { ...DEFAULT_OPTIONS }
  const problems = Object.entries(given).flatMap(([flag, text]) => {
    const key = KEYS.find((one) => flagOf(one) === flag)
    return key === undefined ? [`there is no option "${flag}"`] : parseInto(options, key, text)
  })
  if (problems.length === 0) return options
  throw new WherryError('OPTION_INVALID', `Wrong options: ${problems.join('; ')}.`, {
    hint: `Accepted are ${KEYS.map(flagOf).join(', ')}, for example -o uid=999 -o gid=999 -o mode=0750.`,
  })
}

/** Prints options as Docker's `-o` takes them. */
export function describeOptions(options: VolumeOptions): string {
  const shown = <K extends Key>(key: K) => `${flagOf(key)}=${ROWS[key].show(options[key])}`
  return KEYS.map(shown).join(' ')
}

/**
 * Returns those of Docker's `-o key=value` pairs that a volume with these options does not have, as `key=value`.
 * Pairs that no volume can have are among them.
 */
export function unmetOptions(options: VolumeOptions, given: Readonly<Record<string, string>>): string[] {
  const isMet = ([flag, text]: [string, string]) => {
    const key = KEYS.find((one) => flagOf(one) === flag)
    return key !== undefined && ROWS[key].parse(text) === options[key]
  }
  return Object.entries(given)
    .filter((pair) => !isMet(pair))
    .map(([flag, text]) => `${flag}=${text}`)
}

/** Wanted age of the newest checkpoint; null: none is taken. `tracked`: the kernel reports what was written. */
export function checkpointTargetMs({ checkpointMs }: VolumeOptions, tracked: boolean): number | null {
  if (checkpointMs !== 'auto') return checkpointMs
  return tracked ? AUTO_TRACKED_MS : AUTO_SCANNED_MS
}

/** Sets one option; returns what is wrong with the text, if anything. */
function parseInto<K extends Key>(options: Writable<VolumeOptions>, key: K, text: string): string[] {
  const { accepts, example, parse } = ROWS[key]
  const value = parse(text)
  if (value === undefined) return [`${flagOf(key)} must be ${accepts}, for example ${example}; it is "${text}"`]
  options[key] = value
  return []
}

function fallbacks(): VolumeOptions {
  const options = {} as Record<Key, unknown>
  for (const key of KEYS) options[key] = ROWS[key].fallback
  return options as VolumeOptions
}

function flagOf(key: Key): string {
  return ROWS[key].flag ?? key
}

function parseCheckpoint(text: string): number | 'auto' | null | undefined {
  if (text === 'off') return null
  if (text === 'auto') return 'auto'
  const ms = parseDurationMs(text)
  return ms !== undefined && isWithin(ms, SHORTEST_CHECKPOINT_MS, LONGEST_CHECKPOINT_MS) ? ms : undefined
}

function isWithin(value: number, least: number, most: number): boolean {
  return value >= least && value <= most
}
