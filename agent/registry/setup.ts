import { setTimeout as sleep } from 'node:timers/promises'
import type { JetStreamManager, NatsConnection, StreamConfig } from '../bus/nats.ts'
import { isOlder, OLDEST_FOR_REPLICAS, parseVersion } from '../bus/version.ts'
import { WherryError } from '../model/errors.ts'
import { apiCode } from './api-code.ts'
import { NO_STREAM, streamOf } from './bucket.ts'
import { VOLUMES_BUCKET } from './keys.ts'
import type { KnownBuckets } from './known-buckets.ts'

/** Creating a replicated stream takes an election among its servers. */
const SETUP_TIMEOUT_MS = 5_000

/** A forming cluster does not reply at all: ask again soon rather than wait for long. */
const CHECK_TIMEOUT_MS = 1_000

/** Pause between two checks for a stream: a leader just elected may not know yet which streams it has. */
const SECOND_CHECK_MS = 1_000

/** Subjects on which the servers publish stored changes, below the bus's prefix. */
export const CHANGES = { volumes: 'registry.volumes', removed: 'registry.removed' } as const

export const BUCKETS = { volumes: VOLUMES_BUCKET, removed: 'wherry_removed', hosts: 'wherry_hosts' } as const

/**
 * Creates missing buckets and raises the replicas of those that have too few (never lowers them).
 * Several agents may do so at once.
 * A bucket in `seen` that is missing was lost and is not created again: an empty one would mean that no volume exists
 * (promise 10).
 * NATS_TOO_OLD: the server cannot run that many replicas. REGISTRY_UNAVAILABLE: all other failures.
 */
export async function setUpBuckets(
  connection: NatsConnection,
  replicas: number | null,
  seen: KnownBuckets,
): Promise<void> {
  const wanted = replicas ?? clusterSize(connection)
  refuseOldServer(connection, wanted)
  const look = await connection.jetstreamManager({ timeout: CHECK_TIMEOUT_MS, checkAPI: false })
  const manager = await connection.jetstreamManager({ timeout: SETUP_TIMEOUT_MS, checkAPI: false })
  const configs = bucketConfigs(wanted)
  const missing = await missingOf(look, configs)
  for (const { name } of missing) if (await seen.has(name)) throw lost(name, seen.path)
  if (missing.length > 0) {
    if (connection.info?.cluster !== undefined) await sleep(SECOND_CHECK_MS)
    for (const config of await missingOf(look, missing)) await manager.streams.add(config)
  }
  for (const config of configs) {
    const there = await replicasOf(look, config.name)
    if (there !== null && there < wanted) await manager.streams.update(config.name, { num_replicas: wanted })
    await seen.add(config.name)
  }
}

function lost(stream: string, seenPath: string | null): WherryError {
  const reset = seenPath === null ? 'restart the agents' : `remove ${seenPath} on every host`
  return new WherryError(
    'REGISTRY_UNAVAILABLE',
    `The registry lost its stream ${stream}, which this host has seen before.`,
    {
      hint: [
        'Bring its data back (nats/ in the state directory of the hosts that run servers);',
        `or ${reset} to begin with an empty registry.`,
      ].join(' '),
    },
  )
}

async function missingOf(manager: JetStreamManager, configs: readonly BucketConfig[]): Promise<BucketConfig[]> {
  const missing: BucketConfig[] = []
  for (const config of configs) {
    if ((await replicasOf(manager, config.name)) === null) missing.push(config)
  }
  return missing
}

/** Below 2.10.23 several writers win the same revision if a bucket has three replicas. */
function refuseOldServer(connection: NatsConnection, replicas: number): void {
  const version = parseVersion(connection.info?.version ?? '')
  if (replicas < 2 || (version !== null && !isOlder(version, OLDEST_FOR_REPLICAS))) return
  const server = `nats-server ${connection.info?.version ?? 'of unknown version'} at ${connection.getServer()}`
  throw new WherryError('NATS_TOO_OLD', `${server} loses updates with ${replicas} replicas.`, {
    hint: `Install ${OLDEST_FOR_REPLICAS.join('.')} or newer on every host that runs one.`,
  })
}

/** Counts the servers of the user's own NATS, as far as it lists them, up to three. */
function clusterSize(connection: NatsConnection): number {
  const { cluster, connect_urls: urls } = connection.info ?? {}
  return cluster === undefined ? 1 : Math.min(3, urls?.length ?? 3)
}

async function replicasOf(manager: JetStreamManager, stream: string): Promise<number | null> {
  try {
    return (await manager.streams.info(stream)).config.num_replicas
  } catch (error) {
    if (apiCode(error) === NO_STREAM) return null
    throw error
  }
}

type BucketConfig = Partial<StreamConfig> & { name: string }

/** Configures the buckets as `nats kv create` does, so that its tools can read them. */
function bucketConfigs(replicas: number): BucketConfig[] {
  return Object.values(BUCKETS).map((bucket) => ({
    name: streamOf(bucket),
    subjects: [`$KV.${bucket}.>`],
    description: 'Wherry: who holds what. Written by the agents only.',
    num_replicas: replicas,
    storage: 'file' as StreamConfig['storage'],
    discard: 'new' as StreamConfig['discard'],
    max_msgs_per_subject: 1,
    allow_rollup_hdrs: true,
    // Any replica would serve a direct read, however far behind it is.
    allow_direct: false,
    ...republish(bucket),
  }))
}

/** Lets the server publish a change once it is stored. A subscription to the writes would be too early. */
function republish(bucket: string): Partial<StreamConfig> {
  const kind = bucket === BUCKETS.volumes ? CHANGES.volumes : bucket === BUCKETS.removed ? CHANGES.removed : null
  if (kind === null) return {}
  return { republish: { src: `$KV.${bucket}.>`, dest: `wherry.v1.${kind}.>`, headers_only: true } }
}
