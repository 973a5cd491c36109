import { readFile } from 'node:fs/promises'
import type { Logger } from 'pino'
import { ulid } from 'ulid'
import { serveApi } from './api/server.ts'
import { NatsBus } from './bus/bus.ts'
import { EmbeddedNats } from './bus/embedded.ts'
import { createLeaderView } from './bus/leader-view.ts'
import { leaderlessQuorum, planNats } from './bus/plan.ts'
import { createEngine } from './docker/engine.ts'
import { createFreezerClient } from './fence/freezer-client.ts'
import { openFreezerFiles } from './fence/freezer-files.ts'
import { openPauses } from './fence/pauses.ts'
import { createAgentWatchdog } from './fence/watchdog-messages.ts'
import { openIdentity } from './host/certificates.ts'
import { type Config, EXIT_WRONG_SETTING, parseConfig } from './host/config.ts'
import { openDrainFlag } from './host/drain-flag.ts'
import { openEngineFacts } from './host/engine-facts.ts'
import { readHostId } from './host/host-id.ts'
import { openHostNames } from './host/host-names.ts'
import { keepNames } from './host/known-names.ts'
import { findOwnAddress } from './host/own-address.ts'
import { type Paths, pathsUnder, rootOf } from './host/paths.ts'
import { Metrics } from './metrics/metrics.ts'
import type { Dependencies } from './mobility/dependencies.ts'
import { createMobility } from './mobility/mobility.ts'
import { findRegistryWitness } from './mobility/recovery/registry-witness.ts'
import { codeOf, WherryError } from './model/errors.ts'
import { openMover } from './mover/mover.ts'
import { streamOf } from './registry/bucket.ts'
import { VolumeCache } from './registry/cache.ts'
import { HostSeals } from './registry/host-seal.ts'
import { JetStreamRegistry } from './registry/registry.ts'
import { BUCKET_NAMES, BUCKETS } from './registry/setup.ts'
import { systemClock } from './runtime/clock.ts'
import { createLog } from './runtime/log.ts'
import { describeError } from './runtime/log-line.ts'

/** Where a host without peers says it is; nobody dials it. */
const LONE_ADDRESS = '127.0.0.1'

/** Puts the agent's parts together, outermost last, and takes them down in the opposite order when `stop` aborts. */
async function runAgent(given: Config, paths: Paths, log: Logger, stop: AbortSignal): Promise<void> {
  await using stack = new AsyncDisposableStack()
  // Early: the plugin takes an agent that says nothing for stuck.
  const watchdog = stack.use(createAgentWatchdog(process))
  const { version } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8')) as {
    version: string
  }
  const isNamed = given.advertise !== '' || given.peers.length === 0
  const config = isNamed ? given : { ...given, advertise: await findOwnAddress(given.peers) }
  const hostId = await readHostId(paths.stateDir, ulid)
  const settings = {
    advertise: config.advertise,
    peers: config.peers,
    urls: config.nats,
    clientPort: config.natsPort,
    clusterPort: config.natsClusterPort,
  }
  const plan = planNats(settings)
  const alone = plan.mode === 'single'
  const tlsDir = `${paths.stateDir}/tls`
  const tls = { ca: `${tlsDir}/ca.pem`, cert: `${tlsDir}/cert.pem`, key: `${tlsDir}/key.pem` }
  const { stateDir, mountRoot } = paths
  const mover = stack.use(
    await openMover({
      stateDir,
      mountRoot,
      trashRetentionMs: config.trashRetentionMs,
      bandwidthBytesPerSecond: config.bandwidthBytesPerSecond,
      tls: alone ? null : { dir: tlsDir, address: config.advertise },
      logLevel: config.log,
    }),
  )
  const signal = AbortSignal.any([stop, mover.died])

  const nats = stack.use(
    await EmbeddedNats.start({
      plan,
      settings,
      stateDir: paths.stateDir,
      tls,
      buckets: BUCKET_NAMES,
      binary: paths.natsServer,
      log,
    }),
  )
  const bus = stack.use(new NatsBus({ endpoint: nats.endpoint, name: config.advertise || hostId, log }))
  const oldStore = await nats.oldStore()
  // The mover's thread logs what becomes of the certificates.
  const quiet = log.child({}, { level: 'silent' })
  const identity = alone ? null : stack.use(await openIdentity({ dir: tlsDir, address: config.advertise, log: quiet }))
  // With a NATS of the operator's own nobody else can create the streams.
  const manages = plan.runsServer || plan.mode === 'own'
  const seals = identity === null ? null : new HostSeals(identity, config.peers)
  const others = config.peers.flatMap((address) =>
    address === config.advertise ? [] : [{ address, port: config.transferPort }],
  )
  const registry = stack.use(
    new JetStreamRegistry({
      bus,
      replicas: plan.replicas,
      oldStore,
      seenPath: nats.seenPath,
      manages,
      seals,
      findWitness: () => findRegistryWitness(mover.peers, others, signal),
      log,
    }),
  )
  const cache = new VolumeCache({
    registry,
    named: keepNames(stateDir, log),
    unreadable: () => registry.unreadableVolumes,
  })
  cache.follow(signal)

  const engine = createEngine({ socketPath: paths.dockerSocket, log })
  const metrics = new Metrics()
  const pauses = await openPauses({ stateDir, engine, log })
  const freezes = createFreezerClient({
    channel: process,
    files: openFreezerFiles(paths.controlGroups),
    killPlugin: () => void process.kill(process.ppid, 'SIGKILL'),
    log,
  })
  const stream = streamOf(BUCKETS.hosts)
  const leaderView = createLeaderView({ plan, advertise: config.advertise, server: nats, stream })
  const parts: Dependencies = {
    self: {
      id: hostId,
      address: config.advertise || LONE_ADDRESS,
      transferPort: config.transferPort,
      incarnation: ulid(),
      version,
    },
    registry,
    cache,
    store: mover.store,
    puller: mover.puller,
    peers: mover.peers,
    leaderView: async () => {
      const { server, leader } = await leaderView()
      // The leader of another registry can end no lease of the one that this host knows.
      return { server, leader: leader && !registry.isLost, seen: await registry.hasSeen() }
    },
    watchdog,
    pauses,
    freezes,
    bus,
    engine,
    clock: systemClock,
    newId: ulid,
    log,
    tally: metrics.tally,
    heartbeatMs: config.heartbeatMs,
    leaseMs: config.leaseMs,
    seizeAfterMs: config.seizeAfterMs,
    pauseBudgetMs: config.pauseBudgetMs,
    checkpointShare: config.checkpointShare,
    replaceAfterMs: config.replaceAfterMs,
    certificateEnds: () => identity?.endsAt ?? null,
    peerAddresses: config.peers.map((address) => ({ address, port: config.transferPort })),
    drainFlag: await openDrainFlag(stateDir),
    engineFacts: await openEngineFacts(stateDir),
    hostNames: await openHostNames(stateDir, log),
    alone,
    registryHosts: plan.servers,
    leaderlessQuorum: leaderlessQuorum(plan),
    signal,
  }
  const standing = [...nats.warnings, ...(await nats.leftBehind())]
  const notes = () => [...standing, ...registry.state().problems]
  const serverTrouble = () => nats.state()?.trouble ?? null
  const mobility = createMobility(parts, { notes, serverTrouble })
  await mobility.start()
  if (!alone) {
    const { advertise: host, transferPort: port } = config
    stack.use(await mover.serve({ host, port, choose: mobility.source, answer: mobility.answer }))
  }
  stack.use(await serveApi({ mobility, metrics: () => metrics.scrape(mobility), socketPath: paths.agentSocket, log }))
  log.info({ hostId, mode: plan.mode, version }, 'agent serves')
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
  if (mover.died.aborted) throw mover.died.reason
}

/**
 * Exit codes: 0 after SIGTERM or SIGINT, 78 after a wrong setting, 1 after anything else (the plugin starts it
 * again).
 */
async function main(): Promise<number> {
  const stop = new AbortController()
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.on(name, () => stop.abort())
  // The plugin's process is gone: outside a container nobody else would end this one.
  process.on('disconnect', () => stop.abort())
  try {
    const config = parseConfig(process.env)
    const log = createLog(config.log, { part: 'agent' })
    await runAgent(config, pathsUnder(rootOf(process.argv.slice(2))), log, stop.signal)
    return 0
  } catch (error) {
    sayWhy(error)
    return codeOf(error) === 'SETTING_INVALID' ? EXIT_WRONG_SETTING : 1
  }
}

/** The agent's last words, one line: the plugin repeats them to whoever finds no agent. */
function sayWhy(error: unknown): void {
  const { text, stack } = describeError(error)
  const words = error instanceof WherryError ? error.toLine() : (stack ?? text)
  process.stderr.write(`wherry: ${words.replaceAll(/\n\s*/g, ' <- ')}\n`)
}

if (import.meta.main) {
  process.once('uncaughtException', (error) => {
    sayWhy(error)
    process.exit(1)
  })
  process.exit(await main())
}
