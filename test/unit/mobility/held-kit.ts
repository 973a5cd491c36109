import { pino } from 'pino'
import type { VolumeUser } from '../../../agent/docker/contract.ts'
import { FairCheckpointScheduler } from '../../../agent/mobility/checkpoint/scheduler.ts'
import type { Context } from '../../../agent/mobility/context.ts'
import type { Dependencies } from '../../../agent/mobility/dependencies.ts'
import { EngineUses } from '../../../agent/mobility/hold/container-uses.ts'
import { ReleaseTroubleTable } from '../../../agent/mobility/hold/release-troubles.ts'
import { KnownHosts } from '../../../agent/mobility/lease/host-directory.ts'
import { ProbedStateDisk } from '../../../agent/mobility/lease/state-disk.ts'
import { answerCopy, takeOffer } from '../../../agent/mobility/peer/accept-offer.ts'
import { chooseTree } from '../../../agent/mobility/peer/serve-tree.ts'
import { copyFields } from '../../../agent/mobility/record/checkpoint-order.ts'
import { JobCopyManager } from '../../../agent/mobility/replication/copy-manager.ts'
import { LiveCaptureSet } from '../../../agent/mobility/replication/live-captures.ts'
import { SharedTreeChecks } from '../../../agent/mobility/replication/tree-checks.ts'
import { KeyedWakeups } from '../../../agent/mobility/wakeups.ts'
import { WherryError } from '../../../agent/model/errors.ts'
import type { Checkpoint, CopyRecord, HostRecord, VolumeOptions, VolumeRecord } from '../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { VolumeCache } from '../../../agent/registry/cache.ts'
import { KeyedQueue } from '../../../agent/runtime/keyed-queue.ts'
import type { CopyAnswer, Peers, VolumePuller } from '../../../agent/transfer/contract.ts'
import { VirtualClock } from './clock.ts'
import { MemoryFreezes } from './memory-freezes.ts'
import { MemoryRegistry } from './memory-registry.ts'
import { hashOf, MemoryStore } from './memory-store.ts'
import { SILENT_TALLY } from './silent-tally.ts'

export const ID = 'v1'
export const NAME = 'data'

/** A store whose rounds take time. */
export class SpoolStore extends MemoryStore {
  readonly rounds: string[] = []
  /** How long each round takes, the last one for all that follow. */
  roundsMs: readonly number[] = [0]
  /** How long the last look takes, and what is left to be done when it is over. */
  freezeMs = 0
  lastMs = 0
  /** The last look does not notice that it was told to stop. */
  deaf = false
  readonly #clock: VirtualClock

  /** Called in each round: what it throws, the round does. */
  roundFails: () => Promise<void> = async () => undefined
  constructor(clock: VirtualClock) {
    super(clock)
    this.#clock = clock
  }

  override async spoolRound(id: string) {
    const nth = this.rounds.filter((kind) => kind === 'round').length
    this.rounds.push('round')
    await this.#clock.sleep(this.roundsMs[Math.min(nth, this.roundsMs.length - 1)] ?? 0, new AbortController().signal)
    await this.roundFails()
    return { ...(await super.spoolRound(id)), bytesRead: 100, bytesSpooled: Math.max(1, 100 - nth) }
  }

  override async spoolFreeze(id: string, kind: 'quiet' | 'live', signal: AbortSignal) {
    this.rounds.push(kind)
    const heard = this.deaf ? new AbortController().signal : signal
    await this.#clock.sleep(this.freezeMs, heard)
    heard.throwIfAborted()
    await super.spoolFreeze(id, kind, heard)
  }

  override async spoolLast(id: string, signal: AbortSignal) {
    await this.#clock.sleep(this.lastMs, signal)
    signal.throwIfAborted()
    return await super.spoolLast(id, signal)
  }
}

/** Containers of one host, and what was done to them. */
export class Containers {
  users: VolumeUser[] = []
  /** When those that do not run had last stopped. */
  readonly ends = new Map<string, Date>()
  readonly freezes: MemoryFreezes

  constructor(clock: VirtualClock) {
    this.freezes = new MemoryFreezes(clock, () => this.users)
  }

  get log(): readonly string[] {
    return this.freezes.log
  }

  get frozen(): readonly string[] {
    return this.freezes.frozen
  }

  run(id: string): void {
    this.users = [...this.users, { id, name: id, state: 'running', volumes: [NAME] }]
  }
}

/** One host: just what checkpoints and copies need of an agent. */
export class HeldHost {
  readonly name: string
  readonly store: SpoolStore
  readonly containers: Containers
  readonly core: Context & { readonly checkpointScheduler: FairCheckpointScheduler }
  readonly ending = new AbortController()
  /** How long it takes to get a tree, and whether blocks of it changed meanwhile. */
  pullMs = 0
  changing = false
  down = false
  /** It sends no heartbeats. */
  silent = false
  pulls = 0
  readonly lease = { runs: true }
  /** Volumes that others were said to be about to have. */
  readonly expected: string[] = []
  readonly #kit: HeldKit

  constructor(kit: HeldKit, name: string) {
    this.#kit = kit
    this.name = name
    this.store = new SpoolStore(kit.clock)
    this.containers = new Containers(kit.clock)
    this.core = this.#createCore()
  }

  #createCore(): Context & { readonly checkpointScheduler: FairCheckpointScheduler } {
    const { clock, registry } = this.#kit
    const engine = {
      users: async () => this.containers.users,
      finishedAt: async (id: string) => this.containers.ends.get(id) ?? null,
    }
    const parts = {
      self: { id: this.name, address: this.name, transferPort: 1, incarnation: this.name },
      registry,
      cache: new VolumeCache({ registry }),
      store: this.store,
      puller: this.#puller(),
      peers: this.#peers(),
      // Nothing is fenced here.
      pauses: { all: async () => [] },
      freezes: this.containers.freezes,
      bus: { publish: () => undefined },
      engine,
      clock,
      log: pino({ level: 'silent' }),
      tally: SILENT_TALLY,
      pauseBudgetMs: 500,
      checkpointShare: 0.2,
      leaseMs: 8_000,
      signal: this.ending.signal,
    } as unknown as Dependencies
    const [hosts, locks, wakes] = [new KnownHosts(clock, 8_000), new KeyedQueue(), new KeyedWakeups()]
    const core = {
      dependencies: parts,
      hosts,
      locks,
      wakeups: wakes,
      copyManager: new JobCopyManager(parts, hosts, locks, wakes, new SharedTreeChecks(parts)),
      containerUses: new EngineUses(parts.engine, clock),
      lease: this.lease,
      guardedVolumes: { expect: async (id: string) => void (this.expected.includes(id) || this.expected.push(id)) },
      pendingMounts: new Map(),
      confirmed: new Map(),
      releasing: new Set(),
      liveCaptures: new LiveCaptureSet(),
      namesakes: { names: [] },
      releaseTroubles: new ReleaseTroubleTable(parts),
      stateDisk: new ProbedStateDisk(parts, () => undefined),
      surrendered: new Map(),
      givenSeqs: new Map(),
      endedUses: new Map(),
    } as unknown as Context & { checkpointScheduler: FairCheckpointScheduler }
    core.checkpointScheduler = new FairCheckpointScheduler(core)
    return core
  }

  #puller(): VolumePuller {
    return {
      pull: async (from, request, volume, signal) => {
        const source = this.#kit.host(from.address)
        this.pulls++
        const { id, kind } = await chooseTree(source.core, request, signal)
        const { hash, tree } = await source.store.give(id, kind)
        await this.#kit.clock.sleep(this.pullMs, signal)
        signal.throwIfAborted()
        if (source.down) throw new WherryError('TRANSFER_CUT', 'nobody there')
        if (tree === null) return { hash, bytes: 0, complete: false }
        await this.store.stage(volume, tree)
        return { hash, bytes: tree.length, complete: !this.changing }
      },
    }
  }

  #peers(): Peers {
    return {
      ask: async ({ address }, question, signal) => {
        const host = this.#kit.host(address)
        if (host.down) throw new WherryError('TRANSFER_CUT', `${address} is down`)
        const copy = JSON.parse(JSON.stringify(question)) as typeof question
        if (copy.kind === 'offer') return await takeOffer(host.core, copy, signal)
        return copy.kind === 'copy' ? await answerCopy(host.core, copy.volume) : null
      },
    }
  }
}

/** Hosts h1 to hN with a volume that h1 holds at epoch 2, at the last checkpoint, as if it had been moved there just now. */
export class HeldKit {
  readonly clock = new VirtualClock()
  readonly registry = new MemoryRegistry()
  readonly hosts: HeldHost[] = []
  #revision = 0
  readonly #stopped = new AbortController()

  static async start(count: number, options: Partial<VolumeOptions> = {}): Promise<HeldKit> {
    const kit = new HeldKit()
    for (let n = 1; n <= count; n++) kit.hosts.push(new HeldHost(kit, `h${n}`))
    kit.beat()
    await kit.#hold({ ...DEFAULT_OPTIONS, ...options })
    void kit.host('h1').core.checkpointScheduler.run()
    return kit
  }

  /** Every host sends a heartbeat, but for those that are silent, and hears those of the others. */
  beat(): void {
    const beating = this.hosts.filter(({ silent }) => !silent)
    const records = beating.map(({ name }) => ({ revision: ++this.#revision, value: heartbeat(name, this.clock) }))
    for (const { core } of this.hosts) core.hosts.see(records)
  }

  /** Heartbeats come every second, until the kit is stopped. */
  async keepBeating(): Promise<void> {
    while (!this.#stopped.signal.aborted) {
      this.beat()
      await this.clock.sleep(1_000, this.#stopped.signal)
    }
  }

  host(name: string): HeldHost {
    const host = this.hosts.find((other) => other.name === name)
    if (host === undefined) throw new Error(`no host ${name}`)
    return host
  }

  async record(): Promise<VolumeRecord> {
    const entry = await this.registry.volume(NAME)
    if (entry === null) throw new Error('no record')
    return entry.value
  }

  async change(change: (record: VolumeRecord) => VolumeRecord): Promise<void> {
    const entry = await this.registry.volume(NAME)
    if (entry !== null) await this.registry.updateVolume(change(entry.value), entry.revision)
  }

  /** What containers on h1 write. */
  write(tree: string): void {
    this.host('h1').store.trees.set(ID, tree)
  }

  async answerOf(name: string): Promise<CopyAnswer | null> {
    return await answerCopy(this.host(name).core, ID)
  }

  stop(): void {
    this.#stopped.abort()
    for (const { ending } of this.hosts) ending.abort()
  }

  async #hold(options: VolumeOptions): Promise<void> {
    const at = this.clock.now().toISOString()
    const last: Checkpoint = { epoch: 1, seq: 1, hash: hashOf('a'), at, bytes: 1, files: 1 }
    const copies: Record<string, CopyRecord> = {}
    for (const { name, store } of this.hosts) {
      await store.create({ id: ID, name: NAME, options })
      store.trees.set(ID, 'a')
      await store.capture(ID, 'quiet', new AbortController().signal)
      await store.update(ID, { checkpoint: last, epochSeen: 1 })
      copies[name] = { ...copyFields(last), state: 'current', at, kept: true }
    }
    const holder = { host: 'h1', incarnation: 'i1', since: at }
    const more = { epoch: 2, holder, last, seizures: [], copies, removedAt: null }
    await this.registry.addVolume({ id: ID, name: NAME, options, createdAt: at, ...more })
    const { core, store } = this.host('h1')
    await store.update(ID, { held: { epoch: 2, incarnation: 'i1' }, epochSeen: 2, mounts: { m: 1 } })
    await store.mount(ID)
    core.confirmed.set(ID, { name: NAME, incarnation: 'i1' })
  }
}

function heartbeat(name: string, clock: VirtualClock): HostRecord {
  const self = { id: name, name, address: name, transferPort: 1, incarnation: name, swarmNode: null, uses: {} }
  const lease = {
    at: clock.now().toISOString(),
    renewal: 1,
    expiredBy: null,
    zone: null,
    draining: false,
    covered: {},
    diverged: {},
    namesakes: [],
  }
  return { ...self, ...lease, freeBytes: 1e12, totalBytes: 1e12 }
}
