import { setTimeout as sleep } from 'node:timers/promises'
import { unavailable } from '../bus/connection.ts'
import type { JetStreamManager, NatsConnection, StreamConfig, StreamInfo } from '../bus/nats.ts'
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

/** Subjects on which the servers pass stored changes on, below the bus's prefix. */
export const CHANGES = { volumes: 'registry.volumes', removed: 'registry.removed', hosts: 'registry.hosts' } as const

/** A server before 2.10 refuses this change of an existing stream (nats-server's `checkStreamCfg`). */
const CANNOT_CHANGE = /can not change republish/i

export const BUCKETS = { volumes: VOLUMES_BUCKET, removed: 'wherry_removed', hosts: 'wherry_hosts' } as const

/** Returns the address of another host that has seen the registry's streams; null: none that replied has. */
export type WitnessSearch = () => Promise<string | null>

/** Heartbeats are never removed. */
export const BUCKET_NAMES = { all: Object.values(BUCKETS), removable: [BUCKETS.volumes, BUCKETS.removed] }

/**
 * Creates missing buckets, and raises the replicas of those that have too few (never lowers them).
 * Several agents may do so at once. Returns when each stream was made.
 * A bucket in `seen` that is missing was lost and is not created again: an empty one would mean that no volume exists
 * (promise 10). Nor is one that was created again since taken for it, or one created that another host has seen.
 * `manages` false: this host has no right to do so, and waits for others.
 * NATS_TOO_OLD: the server cannot run that many replicas. REGISTRY_UNAVAILABLE: all other failures.
 */
export async function setUpBuckets(
  connection: NatsConnection,
  replicas: number | null,
  seen: KnownBuckets,
  { findWitness, manages }: { readonly findWitness: WitnessSearch; readonly manages: boolean },
): Promise<ReadonlyMap<string, string>> {
  const wanted = replicas ?? clusterSize(connection)
  refuseOldServer(connection, wanted)
  const look = await connection.jetstreamManager({ timeout: CHECK_TIMEOUT_MS, checkAPI: false })
  const manager = await connection.jetstreamManager({ timeout: SETUP_TIMEOUT_MS, checkAPI: false })
  const configs = bucketConfigs(wanted)
  const missing = await missingOf(look, configs)
  for (const { name } of missing) if (await seen.has(name)) throw lost(name, seen.path)
  if (missing.length > 0 && !manages) {
    throw unavailable('its streams are not there yet; the hosts that run its servers create them')
  }
  if (missing.length > 0) {
    const witness = await findWitness()
    if (witness !== null) throw lostElsewhere(missing[0]?.name ?? '', witness)
    if (connection.info?.cluster !== undefined) await sleep(SECOND_CHECK_MS)
    for (const config of await missingOf(look, missing)) await manager.streams.add(config)
  }
  const madeAt = new Map<string, string>()
  for (const config of configs) {
    const found = await findStream(look, config.name)
    if (found === null) throw unavailable(`its stream ${config.name} is not there yet`)
    const known = await seen.madeAt(config.name)
    if (known !== null && known !== found.created) throw madeAgain(config.name, seen.path)
    if (manages) await bringUpToDate(manager, found, config, wanted)
    await seen.add(config.name, found.created)
    madeAt.set(config.name, found.created)
  }
  return madeAt
}

/** Raises the replicas, and has changes passed on with their values. */
async function bringUpToDate(
  manager: JetStreamManager,
  { config: { num_replicas, republish } }: StreamInfo,
  config: BucketConfig,
  wanted: number,
): Promise<void> {
  if (num_replicas < wanted) await manager.streams.update(config.name, { num_replicas: wanted })
  if (republish?.dest === config.republish?.dest && republish?.headers_only !== true) return
  const { republish: passedOn } = config
  await manager.streams.update(config.name, passedOn === undefined ? {} : { republish: passedOn }).catch((error) => {
    if (!CANNOT_CHANGE.test((error as Error).message)) throw error
  })
}

function lost(stream: string, seenPath: string | null): RegistryLost {
  return noRegistry(`The registry lost its stream ${stream}, which this host has seen before.`, seenPath)
}

function madeAgain(stream: string, seenPath: string | null): RegistryLost {
  const what = [
    `The registry lost its stream ${stream}, which this host has seen before:`,
    'another host has created an empty one since.',
  ]
  return noRegistry(what.join(' '), seenPath)
}

function lostElsewhere(stream: string, witness: string): RegistryLost {
  const why = `but host ${witness} has seen it: it was lost, and is not created anew.`
  const what = `The registry has no stream ${stream}, ${why}`
  return noRegistry(what, null)
}

/** The registry that this host knows is gone, whatever other one may be there. */
export class RegistryLost extends WherryError {}

function noRegistry(what: string, seenPath: string | null): RegistryLost {
  const file = seenPath ?? 'nats/seen-cluster.json in the state directory'
  return new RegistryLost('REGISTRY_UNAVAILABLE', what, {
    hint: [
      'Bring its data back (nats/ in the state directory of the hosts that run servers);',
      `or remove ${file} on every host to begin with an empty registry, then run "wherry recover".`,
    ].join(' '),
  })
}

async function missingOf(manager: JetStreamManager, configs: readonly BucketConfig[]): Promise<BucketConfig[]> {
  const missing: BucketConfig[] = []
  for (const config of configs) {
    if ((await findStream(manager, config.name)) === null) missing.push(config)
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

async function findStream(manager: JetStreamManager, stream: string): Promise<StreamInfo | null> {
  try {
    return await manager.streams.info(stream)
  } catch (error) {
    if (apiCode(error) === NO_STREAM) return null
    throw error
  }
}

type BucketConfig = Partial<StreamConfig> & { name: string }

/** Configures the buckets as `nats kv create` does, so that its tools can read them. */
function bucketConfigs(replicas: number): BucketConfig[] {
  return Object.entries(BUCKETS).map(([kind, bucket]) => ({
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
    // The server passes a change on once it is stored. A subscription to the writes would be too early.
    republish: { src: `$KV.${bucket}.>`, dest: `wherry.v1.${CHANGES[kind as keyof typeof CHANGES]}.>` },
  }))
}
