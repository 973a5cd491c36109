import type { Logger } from 'pino'
import type { Dependencies } from '../../agent/mobility/dependencies.ts'
import { createMobility, type RunningMobility } from '../../agent/mobility/mobility.ts'
import { WherryError } from '../../agent/model/errors.ts'
import { VolumeCache } from '../../agent/registry/cache.ts'
import type { QueryHandler, VolumePuller } from '../../agent/transfer/contract.ts'
import { peerAt } from '../fake/peer-identity.ts'
import { SILENT_TALLY } from '../fake/silent-tally.ts'
import { ProcessClock } from './clocks.ts'
import { EngineClient, pausesOf } from './engine-client.ts'
import { ChannelFreezes } from './host-freezers.ts'
import type { Machine } from './machine.ts'
import { SimProcess } from './process.ts'
import { RegistryClient } from './registry-client.ts'
import { replaceMethods } from './replace-methods.ts'
import { SimStore } from './sim-store.ts'
import type { Tree } from './tree.ts'
import { asVersion } from './versions.ts'

export const TRANSFER_PORT = 7_001
/** More than there are. */
const CACHED_VOLUMES = 10
/** A copy of these small trees takes a moment, now and then much longer. */
const PULL_LEAST_MS = 2
const PULL_MOST_MS = 300
const PULL_LONG_MS = 20_000

/** One agent: the decisions are the real ones, everything else is simulated. */
export class SimAgent {
  readonly process: SimProcess
  readonly store: SimStore
  readonly mobility: RunningMobility & { readonly answer?: QueryHandler }
  /** It serves the plugin and other hosts. */
  serves = false
  /** Since when it serves. */
  servesSinceMs = Number.POSITIVE_INFINITY
  readonly host: string
  readonly #machine: Machine
  readonly #stop = new AbortController()
  #follow: () => void = () => undefined

  constructor(machine: Machine, log: Logger) {
    this.#machine = machine
    const { world, host } = machine
    const { timeline, random } = world
    this.host = host
    this.process = new SimProcess(timeline, `agent of ${host}`)
    this.store = new SimStore(machine.disk, this.process, random)
    this.mobility = createMobility(world.settings.mutate(asVersion(this.#parts(log), machine), machine), {
      notes: () => [],
    })
  }

  async start(): Promise<void> {
    await this.process.wait(this.#machine.world.random.between(50, 800))
    this.#follow()
    await this.mobility.start()
    this.serves = true
    this.servesSinceMs = this.#machine.world.timeline.nowMs
  }

  /** As SIGTERM does: it gets a moment to end by itself. */
  stop(): void {
    this.#stop.abort()
  }

  #parts(log: Logger): Dependencies {
    const { world, host, clocks, lease } = this.#machine
    const { network, registry: cluster, settings, random } = world
    const clock = new ProcessClock(clocks, this.process)
    const client = new RegistryClient(
      { registry: cluster, network, random },
      host,
      this.process,
      clock,
      settings.anyRegistry,
    )
    this.#follow = () => client.run(this.#stop.signal)
    const { hostile } = world
    const tell: typeof client.updateHost = (record, revision) =>
      client.updateHost(hostile?.heartbeat(record) ?? record, revision)
    const registry = hostile?.host === host ? replaceMethods(client, { updateHost: tell }) : client
    const engine = new EngineClient(this.#machine, this.process, random, world.swarm)
    const from = { host, process: this.process }
    const incarnation = world.newId()
    const inherited = this.#machine.plugin?.guarded ?? { untilMs: Number.NEGATIVE_INFINITY, volumes: [] }
    return {
      self: { id: host, address: host, transferPort: TRANSFER_PORT, incarnation, version: 'sim' },
      registry,
      tally: SILENT_TALLY,
      cache: new VolumeCache({ registry, max: CACHED_VOLUMES }),
      store: this.store,
      puller: { pull: (...args) => this.#pull(...args) },
      peers: {
        ask: (to, question, signal) => {
          const serve = async (peer: SimAgent, ended: AbortSignal) => {
            if (peer.mobility.answer === undefined) throw new WherryError('TRANSFER_CUT', 'Questions are not served.')
            const reply = await peer.mobility.answer(question, peerAt(host), ended)
            const isForged = question.kind === 'inventory' && hostile?.host === peer.host
            return isForged ? hostile.inventory(reply) : reply
          }
          return network.ask<unknown, SimAgent>(from, to.address, () => world.serving(to.address), serve, signal)
        },
      },
      leaderView: () =>
        this.process.call(random.between(1, 20), () => {
          const view = cluster.leaderView(host)
          return { ...view, leader: view.leader && !registry.isLost }
        }),
      watchdog: {
        guard: (guard) => void (this.process.alive && this.#machine.plugin?.notify(guard)),
        inherited: async () => inherited,
      },
      pauses: pausesOf(this.#machine, engine, this.process, random),
      freezes: new ChannelFreezes(this.#machine, this.process, random),
      bus: {
        publish: (subject, message) => void (this.process.alive && world.bus.publish(host, subject, message)),
        subscribe: (subject, handler, signal) => world.bus.subscribe(host, this.process, subject, handler, signal),
        state: () => ({ connected: cluster.serverOf(host) !== null, detail: '' }),
      },
      engine,
      clock,
      newId: () => world.newId(),
      log,
      heartbeatMs: lease.heartbeatMs,
      leaseMs: lease.leaseMs,
      seizeAfterMs: lease.seizeAfterMs,
      pauseBudgetMs: settings.pauseBudgetMs,
      checkpointShare: 0.5,
      replaceAfterMs: world.replaceAfterMs,
      certificateEnds: () => null,
      peerAddresses: world.hosts.map((address) => ({ address, port: TRANSFER_PORT })),
      engineFacts: {
        get: () => this.#machine.engineFacts,
        set: (facts) =>
          this.process.call(2, () => {
            this.#machine.engineFacts = facts
          }),
      },
      drainFlag: {
        get: () => this.#machine.drainFlag,
        set: (on) =>
          this.process.call(2, () => {
            this.#machine.drainFlag = on
          }),
      },
      alone: world.hosts.length === 1,
      registryHosts: cluster.servers,
      leaderlessQuorum: cluster.leaderlessQuorum,
      signal: this.#stop.signal,
    }
  }

  #pull(...args: Parameters<VolumePuller['pull']>): ReturnType<VolumePuller['pull']> {
    const [from, request, volume, signal, onProgress] = args
    const { world, host } = this.#machine
    const { network, random } = world
    return this.store.receive(volume, async (stage) => {
      const take = async (peer: SimAgent, ended: AbortSignal) => {
        const forged = world.hostile?.treeFor(from.address, request) ?? null
        if (forged !== null) return { tree: forged, whole: true }
        const choice = await peer.mobility.source(request, peerAt(host), ended)
        world.checker.served(peer.#machine.host, request)
        const tree = peer.store.manifest(choice.id, choice.kind)
        const whole = peer.store.delivers(choice.id, choice.kind, tree)
        await peer.process.wait(
          random.hit(0.02) ? random.between(PULL_MOST_MS, PULL_LONG_MS) : random.between(PULL_LEAST_MS, PULL_MOST_MS),
        )
        return { tree, whole: whole && peer.store.delivers(choice.id, choice.kind, tree) }
      }
      const parties = { host, process: this.process }
      const got = await network.ask<{ tree: Tree; whole: boolean }, SimAgent>(
        parties,
        from.address,
        () => world.serving(from.address),
        take,
        signal,
      )
      signal.throwIfAborted()
      const bytes = got.tree.length
      onProgress({ bytesDone: bytes, bytesTotal: bytes, filesDone: 1, filesTotal: 1 })
      if (got.whole) stage(got.tree)
      return { hash: got.tree.hash, bytes, complete: got.whole }
    })
  }
}
