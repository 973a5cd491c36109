import { replyWithCopy, takeOffer } from '../../../agent/mobility/peer/accept-offer.ts'
import { chooseTree } from '../../../agent/mobility/peer/serve-tree.ts'
import { copyFields } from '../../../agent/mobility/record/checkpoint-order.ts'
import { WherryError } from '../../../agent/model/errors.ts'
import type { Checkpoint, CopyRecord, HostRecord, VolumeOptions, VolumeRecord } from '../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import type { CopyReply, Peers, VolumePuller } from '../../../agent/transfer/contract.ts'
import { VirtualClock } from '../../fake/clock.ts'
import { MemoryRegistry } from '../../fake/memory-registry.ts'
import { hashOf } from '../../fake/memory-store.ts'
import { peerAt } from '../../fake/peer-identity.ts'
import { type HeldContext, heldContext, heldDependencies } from './held-context.ts'
import { HostContainers } from './host-containers.ts'
import { SpoolStore } from './spool-store.ts'

export const ID = 'v1'
export const NAME = 'data'

/** One host, with what checkpoints and copies need of an agent. */
export class HeldHost {
  readonly name: string
  readonly store: SpoolStore
  readonly containers: HostContainers
  readonly context: HeldContext
  readonly ending = new AbortController()
  /** How long a pull of a tree takes, and whether blocks of it change meanwhile. */
  pullMs = 0
  changing = false
  down = false
  /** It sends no heartbeats. */
  silent = false
  pulls = 0
  readonly lease = { runs: true, untilMs: 0, unbrokenSinceMs: 0, giveUp: () => undefined, takeUp: () => undefined }
  /** Volumes of which another host is about to have a copy, as the watchdog was told. */
  readonly expected: string[] = []
  readonly #kit: HeldKit

  constructor(kit: HeldKit, name: string) {
    this.#kit = kit
    this.name = name
    this.store = new SpoolStore(kit.clock)
    this.containers = new HostContainers(kit.clock, NAME)
    const { clock, registry } = kit
    const { freezes } = this.containers
    const [puller, peers, engine] = [this.#puller(), this.#peers(), this.containers.engine()]
    const given = { clock, registry, store: this.store, puller, peers, freezes, engine, signal: this.ending.signal }
    const expect = (id: string) => void (this.expected.includes(id) || this.expected.push(id))
    this.context = heldContext(heldDependencies(name, given), this.lease, expect)
  }

  #puller(): VolumePuller {
    return {
      pull: async (from, request, volume, signal) => {
        const source = this.#kit.host(from.address)
        this.pulls++
        const { id, kind } = await chooseTree(source.context, request, signal)
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
        if (copy.kind === 'offer') return await takeOffer(host.context, copy, peerAt(this.name), signal)
        return copy.kind === 'copy' ? await replyWithCopy(host.context, copy.volume) : null
      },
    }
  }
}

/** Hosts h1 to hN with a volume that h1 holds at epoch 2, at the last checkpoint: it was just moved there. */
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
    void kit.host('h1').context.checkpointScheduler.run()
    return kit
  }

  /** Every host that is not silent sends a heartbeat. All hosts read them. */
  beat(): void {
    const beating = this.hosts.filter(({ silent }) => !silent)
    const records = beating.map(({ name }) => ({ revision: ++this.#revision, value: heartbeat(name, this.clock) }))
    for (const { context } of this.hosts) context.hosts.see(records)
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

  /** Writes as containers on h1 do. */
  write(tree: string): void {
    this.host('h1').store.trees.set(ID, tree)
  }

  async answerOf(name: string): Promise<CopyReply | null> {
    return await replyWithCopy(this.host(name).context, ID)
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
    const { context, store } = this.host('h1')
    await store.update(ID, { held: { epoch: 2, incarnation: 'i1' }, epochSeen: 2, mounts: { m: 1 } })
    await store.mount(ID)
    context.confirmed.set(ID, { name: NAME, incarnation: 'i1' })
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
