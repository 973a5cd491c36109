import type { z } from 'zod'
import { DAY_MS } from '../model/duration.ts'
import { WherryError } from '../model/errors.ts'
import {
  duration,
  emptyOr,
  listOf,
  parseAddress,
  parseBandwidth,
  parseNatsUrl,
  parseShare,
  port,
  setting,
} from './setting.ts'

/** Exit code of plugin and agent after a wrong setting (EX_CONFIG of sysexits.h): a restart would not help. */
export const EXIT_WRONG_SETTING = 78

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

/** All settings of plugin and agent, parsed. Times are in milliseconds. */
export interface Config {
  /** Address of this host as its peers reach it; empty: a single host, or the one of `peers` that is its own. */
  readonly advertise: string
  /** All hosts of the cluster, this one included; empty on a single host. */
  readonly peers: readonly string[]
  /** URLs of the operator's own NATS; empty: the embedded server. */
  readonly nats: readonly string[]
  readonly log: LogLevel
  readonly transferPort: number
  readonly natsPort: number
  readonly natsClusterPort: number
  readonly mountDeadlineMs: number
  readonly heartbeatMs: number
  readonly leaseMs: number
  readonly seizeAfterMs: number
  /** How long one checkpoint may freeze containers. */
  readonly pauseBudgetMs: number
  /** Largest share of the time that checkpoints may take on this host; above 0, at most 1. */
  readonly checkpointShare: number
  /** After this long without a heartbeat other hosts get a host's copies. */
  readonly replaceAfterMs: number
  readonly trashRetentionMs: number
  /** What this host may send to others, all copies together; null: no limit. */
  readonly bandwidthBytesPerSecond: number | null
}

/** Docker gives up a mount after 120 s. The error must arrive before that, also on a loaded machine. */
const LONGEST_MOUNT_DEADLINE_MS = 110_000
const SHORTEST_MOUNT_DEADLINE_MS = 1_000
/** A lease must outlive one or two lost heartbeats and the 5 to 6 s that a killed registry leader costs. */
const HEARTBEATS_PER_LEASE = 4
/**
 * A host that continued without a registry notices within 2 s that it is back.
 * It then has a lease's time to renew or to pause; clocks differ by 1 %.
 */
const LEASES_BEFORE_SEIZING = 1.5
/** Faster heartbeats load the registry without making anything safer. */
const SHORTEST_HEARTBEAT_MS = 100
/** Pausing and resuming a container takes longer than a smaller value. */
const SHORTEST_PAUSE_MS = 10
/** Clients of a service that is frozen for longer consider it dead. */
const LONGEST_PAUSE_MS = 60_000

const SETTINGS = {
  WHERRY_ADVERTISE: setting('', "this host's IP address or DNS name", '10.0.0.1', emptyOr(parseAddress)),
  WHERRY_PEERS: setting(
    '',
    "a comma list of all hosts' addresses, each once",
    '10.0.0.1,10.0.0.2,10.0.0.3',
    listOf(parseAddress),
  ),
  WHERRY_NATS: setting(
    '',
    'a comma list of nats:// or tls:// URLs',
    'tls://nats1:4222,tls://nats2:4222',
    listOf(parseNatsUrl),
  ),
  WHERRY_LOG: setting('info', `one of ${LOG_LEVELS.join(', ')}`, 'info', (text) => LOG_LEVELS.find((l) => l === text)),
  WHERRY_TRANSFER_PORT: port('7450'),
  WHERRY_NATS_PORT: port('7451'),
  WHERRY_NATS_CLUSTER_PORT: port('7452'),
  WHERRY_MOUNT_DEADLINE: duration(
    '110s',
    'from 1s to 110s (Docker gives up after 120 s)',
    SHORTEST_MOUNT_DEADLINE_MS,
    LONGEST_MOUNT_DEADLINE_MS,
  ),
  WHERRY_HEARTBEAT: duration('1s', 'of 100ms or more', SHORTEST_HEARTBEAT_MS, DAY_MS),
  WHERRY_LEASE: duration('8s', 'of 1s or more', 1_000, DAY_MS),
  WHERRY_SEIZE_AFTER: duration('12s', 'of 1500ms or more', 1_500, DAY_MS),
  WHERRY_PAUSE_BUDGET: duration('500ms', 'from 10ms to 1m', SHORTEST_PAUSE_MS, LONGEST_PAUSE_MS),
  WHERRY_CHECKPOINT_SHARE: setting('20%', 'a share from 1% to 100%', '20%', parseShare),
  WHERRY_REPLACE_AFTER: duration('10m', 'of 1s or more', 1_000, Number.MAX_SAFE_INTEGER),
  WHERRY_TRASH_RETENTION: duration('7d', 'with its unit (ms, s, m, h or d)', 0, Number.MAX_SAFE_INTEGER),
  WHERRY_BANDWIDTH: setting('', 'a rate of 100kB/s or more (kB/s, MB/s or GB/s), or empty', '100MB/s', parseBandwidth),
}

export type SettingName = keyof typeof SETTINGS
type Values = { [K in SettingName]?: z.output<(typeof SETTINGS)[K]['schema']> }

/** The meaning of an unset or empty setting, as an operator would write it. */
export const DEFAULTS = Object.fromEntries(
  Object.entries(SETTINGS).map(([key, { fallback }]) => [key, fallback]),
) as Readonly<Record<SettingName, string>>

/**
 * Reads all settings from an environment. Pure.
 * Throws SETTING_INVALID with one line that names every problem, each with an example.
 * Refuses unknown WHERRY_ keys: a misspelt setting must not be ignored silently.
 */
export function parseConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const problems = unknownKeys(env)
  const values: Values = {}
  for (const key of Object.keys(SETTINGS) as SettingName[]) {
    const { schema, fallback } = SETTINGS[key]
    const found = schema.safeParse(env[key]?.trim() || fallback)
    if (found.success) Object.assign(values, { [key]: found.data })
    else problems.push(`${key} ${found.error.issues.map((issue) => issue.message).join('; ')}`)
  }
  problems.push(...contradictions(values))
  if (problems.length > 0) {
    throw new WherryError('SETTING_INVALID', `Wrong settings: ${problems.join(' | ')}.`, {
      hint: 'Change them with "docker plugin set wherry KEY=VALUE" while the plugin is disabled; see docs/settings.md.',
    })
  }
  return toConfig(values as Required<Values>)
}

function toConfig(values: Required<Values>): Config {
  return {
    advertise: values.WHERRY_ADVERTISE,
    peers: values.WHERRY_PEERS,
    nats: values.WHERRY_NATS,
    log: values.WHERRY_LOG,
    transferPort: values.WHERRY_TRANSFER_PORT,
    natsPort: values.WHERRY_NATS_PORT,
    natsClusterPort: values.WHERRY_NATS_CLUSTER_PORT,
    mountDeadlineMs: values.WHERRY_MOUNT_DEADLINE,
    heartbeatMs: values.WHERRY_HEARTBEAT,
    leaseMs: values.WHERRY_LEASE,
    seizeAfterMs: values.WHERRY_SEIZE_AFTER,
    pauseBudgetMs: values.WHERRY_PAUSE_BUDGET,
    checkpointShare: values.WHERRY_CHECKPOINT_SHARE,
    replaceAfterMs: values.WHERRY_REPLACE_AFTER,
    trashRetentionMs: values.WHERRY_TRASH_RETENTION,
    bandwidthBytesPerSecond: values.WHERRY_BANDWIDTH,
  }
}

/** Finds settings that contradict each other. Settings that did not parse have been reported already. */
function contradictions(values: Values): string[] {
  const { WHERRY_ADVERTISE: advertise, WHERRY_PEERS: peers, WHERRY_NATS: nats } = values
  const { WHERRY_HEARTBEAT: heartbeatMs, WHERRY_LEASE: leaseMs, WHERRY_SEIZE_AFTER: seizeAfterMs } = values
  const problems: string[] = []
  if (advertise === '' && isNotEmpty(nats) && !isNotEmpty(peers)) {
    problems.push(
      "WHERRY_ADVERTISE must be set to this host's address with a NATS of your own and no WHERRY_PEERS, for example " +
        'WHERRY_ADVERTISE=10.0.0.1',
    )
  }
  if (advertise !== undefined && advertise !== '' && isNotEmpty(peers) && !peers.includes(advertise)) {
    problems.push(
      `WHERRY_PEERS must contain this host's own address ${advertise}, for example ` +
        `WHERRY_PEERS=${[advertise, ...peers].join(',')}`,
    )
  }
  const ports = [values.WHERRY_TRANSFER_PORT, values.WHERRY_NATS_PORT, values.WHERRY_NATS_CLUSTER_PORT]
  const known = ports.filter((port) => port !== undefined)
  if (new Set(known).size < known.length) {
    problems.push(
      'WHERRY_TRANSFER_PORT, WHERRY_NATS_PORT and WHERRY_NATS_CLUSTER_PORT must differ, for example 7450, 7451 ' +
        `and 7452; they are ${ports.join(', ')}`,
    )
  }
  if (heartbeatMs !== undefined && leaseMs !== undefined && leaseMs < HEARTBEATS_PER_LEASE * heartbeatMs) {
    problems.push(
      `WHERRY_LEASE must be at least ${HEARTBEATS_PER_LEASE} times WHERRY_HEARTBEAT, for example ` +
        `${DEFAULTS.WHERRY_LEASE} and ${DEFAULTS.WHERRY_HEARTBEAT}`,
    )
  }
  if (leaseMs !== undefined && seizeAfterMs !== undefined && seizeAfterMs < LEASES_BEFORE_SEIZING * leaseMs) {
    problems.push(
      `WHERRY_SEIZE_AFTER must be at least ${LEASES_BEFORE_SEIZING} times WHERRY_LEASE, for example ` +
        `${DEFAULTS.WHERRY_SEIZE_AFTER} and ${DEFAULTS.WHERRY_LEASE}`,
    )
  }
  return problems
}

function isNotEmpty(list: readonly string[] | undefined): list is readonly string[] {
  return list !== undefined && list.length > 0
}

function unknownKeys(env: Readonly<Record<string, string | undefined>>): string[] {
  const known = Object.keys(SETTINGS)
  return Object.keys(env)
    .filter((key) => key.startsWith('WHERRY_') && !known.includes(key))
    .map((key) => `${key} is not a setting, did you mean ${nearest(key, known)}?`)
}

/** Returns the known key that shares the most pairs of neighbouring letters with a misspelt one. */
function nearest(key: string, known: readonly string[]): string {
  const pairs = (word: string) => new Set(Array.from(word, (letter, i) => letter + (word[i + 1] ?? '')))
  const wanted = pairs(key)
  const likeness = (word: string) => (2 * pairs(word).intersection(wanted).size) / (pairs(word).size + wanted.size)
  return known.reduce((best, next) => (likeness(next) > likeness(best) ? next : best))
}
