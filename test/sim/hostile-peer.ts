import { copyFields } from '../../agent/mobility/record/checkpoint-order.ts'
import { codeOf } from '../../agent/model/errors.ts'
import type { Checkpoint, HostRecord, RemovedRecord, Seizure, VolumeRecord } from '../../agent/model/model.ts'
import type { LocalCopy } from '../../agent/store/contract.ts'
import type { Query, TreeRequest } from '../../agent/transfer/contract.ts'
import type { SimAgent } from './agent.ts'
import { EMPTY, type Tree } from './tree.ts'
import type { SimWorld } from './world.ts'

/** Writer of commits that no agent made. */
export const HOSTILE = 'hostile'
/** One series of attempts: so many, so far apart. */
const ATTEMPTS = 12
const GAP_LEAST_MS = 50
const GAP_MOST_MS = 2_000
/** For how long a heartbeat names the address of another host. */
const LIE_LEAST_MS = 2_000
const LIE_MOST_MS = 20_000
/** No container writes records with such numbers. */
const FORGED_NUMBERS = 1_000_000_000
/** What a host replies that did not believe an offer, or could not look at it. */
const NOT_BELIEVED = new Set(['PEER_REFUSED', 'STALE_EPOCH', 'REGISTRY_UNAVAILABLE', 'COPY_DAMAGED'])

/**
 * Somebody who has the key of one host, whose agent works on. It sends what it likes with that certificate, and writes
 * to the registry what any host may write. It knows all records.
 */
export class HostilePeer {
  /** The host whose key it has. */
  readonly host: string
  /** The address that the host's heartbeat names meanwhile; null: its own. */
  claimed: string | null = null
  /** By id: the record that an offer claims, while the offer is looked at. */
  readonly claims = new Map<string, VolumeRecord>()
  readonly #world: SimWorld
  readonly #trees = new Map<string, Tree>()
  #series = 0

  constructor(world: SimWorld, host: string) {
    this.#world = world
    this.host = host
  }

  /** Whether this is a tree that no container has written. */
  isForged(tree: Tree): boolean {
    return this.#trees.has(tree.hash)
  }

  /** What it sends to a host that asks for one of its trees. */
  treeFor(address: string, { want }: TreeRequest): Tree | null {
    return address === this.host && want.kind === 'checkpoint' ? (this.#trees.get(want.hash) ?? null) : null
  }

  /** The heartbeat as it sends it. */
  heartbeat(record: HostRecord): HostRecord {
    return record.id === this.host && this.claimed !== null ? { ...record, address: this.claimed } : record
  }

  /** Begins a series of attempts. */
  strike(): void {
    const { random, timeline } = this.#world
    this.#series++
    let atMs = 0
    for (let left = ATTEMPTS; left > 0; left--) {
      atMs += random.between(GAP_LEAST_MS, GAP_MOST_MS)
      timeline.after(atMs, () => this.#attempt())
    }
    timeline.after(atMs, () => this.#series--)
  }

  /** Its inventory: after a loss of the registry it makes a tree of its own the newest one. */
  inventory(reply: unknown): unknown {
    const { random, volumes, checker } = this.#world
    if (this.#series === 0) return reply
    const { copies, ...rest } = reply as { copies: LocalCopy[] }
    const forged = volumes.flatMap((name) => {
      const record = checker.oracle.named(name)?.record
      const mine = copies.find((copy) => copy.name === name)
      // Of a volume that no other disk has, its word is all there is. As the holder it may write what it likes.
      const witnesses = record === undefined ? [] : this.#witnesses(record.id)
      if (record === undefined || witnesses.length === 0 || record.holder?.host === this.host) return mine ?? []
      // While a lost holder's epoch lasts, nobody knows which checkpoints it has taken.
      const isOver = witnesses.some(
        ({ recordSeen }) => recordSeen?.epoch === record.epoch && recordSeen.holder === null,
      )
      const epoch = record.epoch + random.pick(isOver ? [0, 1, 1_000] : [1, 1_000])
      const checkpoint = this.#checkpoint({ ...record, epoch })
      // It may stand in the entry of its own copy.
      checker.names.forge(record.id, checkpoint)
      const made = { id: record.id, name, options: record.options, uses: { unmountsMs: [], ground: null } }
      const rest = { held: null, applying: false, damaged: null, diverged: [], mounts: {}, recordSeen: null }
      return { ...made, ...rest, checkpoint, epochSeen: epoch }
    })
    return { ...rest, copies: forged }
  }

  /** What the disks of other hosts that reply have of a volume. */
  #witnesses(id: string): LocalCopy[] {
    const others = this.#world.machines().filter(({ host }) => host !== this.host && this.#world.serving(host) !== null)
    const copies = others.flatMap(({ disk }) => disk.shelf(id)?.record ?? [])
    return copies.filter(({ checkpoint, recordSeen }) => checkpoint !== null && recordSeen !== null)
  }

  #attempt(): void {
    const { random, volumes, registry, hosts, scenarios, checker } = this.#world
    const record = registry.record(random.pick(volumes))
    if (record === null || record.removedAt !== null) return
    const victim = this.#world.serving(random.pick(hosts.filter((host) => host !== this.host)))
    const attempts = [
      () => victim !== null && this.#offer(victim, record, this.#forgedOffer(record)),
      () => victim !== null && this.#offer(victim, record, this.#forgedOffer(record)),
      () => this.#message(record),
      () => this.#claimCopy(record),
      // Without a registry nobody knows better. A lie about an address costs what is offered from there.
      ...(scenarios.has('wipe') ? [] : [() => this.#bury(record)]),
      ...(checker.planned ? [] : [() => this.#lie()]),
    ]
    random.pick(attempts)()
  }

  #forgedOffer(record: VolumeRecord): Query {
    const { random } = this.#world
    const epoch = record.epoch + random.pick([0, 0, 1, 1_000])
    const base = { epoch: Math.max(0, epoch - 1), seq: 1, hash: EMPTY.hash }
    const seizure: Seizure = { epoch, from: '', by: this.host, at: new Date(0).toISOString(), base, ageSeconds: 0 }
    const seizures = random.hit(0.5) ? record.seizures : [...record.seizures, seizure]
    const isHolders = record.holder !== null && record.holder.host !== this.host && random.hit(0.4)
    const holder = isHolders ? record.holder : { host: this.host, incarnation: 'forged', since: '' }
    const from = holder?.host ?? this.host
    const claimed = isHolders ? record : { ...record, epoch, holder, seizures }
    return { kind: 'offer', record: claimed, checkpoint: this.#checkpoint(claimed), from }
  }

  #offer(victim: SimAgent, record: VolumeRecord, question: Query): void {
    const { network, settings, hosts, trace, checker } = this.#world
    if (question.kind !== 'offer' || !network.linked(this.host, victim.host)) return
    // The rule that is broken then: whoever has a certificate may speak for any host.
    const names = settings.anyCertificate ? hosts : [this.host]
    const peer = { name: this.host, altNames: names.map((name) => `DNS:${name}`).join(', ') }
    const { epoch, seizures } = question.record
    trace(this.host, `FORGED: offers ${record.name} to ${victim.host} as ${question.from}, epoch ${epoch}`)
    const believed = () => {
      if (victim.process.alive) checker.failed('forgery', `${victim.host} believed an offer as ${question.from}`)
    }
    this.claims.set(record.id, { ...record, epoch, holder: question.record.holder, seizures })
    victim.process.after(1, () => {
      const asked = victim.mobility.answer?.(question, peer, new AbortController().signal)
      asked
        ?.then(believed, (error: unknown) => {
          trace(victim.host, `refuses the forged offer: ${String(error)}`)
          if (!NOT_BELIEVED.has(codeOf(error) ?? '')) believed()
        })
        .finally(() => this.claims.delete(record.id))
    })
  }

  /** One message over the bus, as any host may send it. */
  #message(record: VolumeRecord): void {
    const { random, bus, hosts } = this.#world
    const { id, name } = record
    const epoch = record.epoch + random.pick([0, 1_000])
    if (random.hit(0.5)) bus.publish(this.host, `hint.${random.pick(hosts)}`, { id, name, epoch })
    else bus.publish(this.host, `volume.${id}.wanted`, { id, name, host: `h${random.whole(1, 99)}`, sources: hosts })
    bus.publish(this.host, `volume.${id}.seized`, { name, host: this.host, epoch })
  }

  /** The record says that this host has a copy, and that it is current. */
  #claimCopy(record: VolumeRecord): void {
    const { volumes } = this.#world.registry
    const { last } = record
    if (last === null || record.holder !== null || record.copies[this.host] !== undefined) return
    const copy = { ...copyFields(last), state: 'current', at: last.at, kept: true } as const
    const revision = volumes.read(record.name, volumes.revision)?.revision ?? null
    this.#world.trace(this.host, `FORGED: the record of ${record.name} has a copy of ${this.host}`)
    volumes.commit(record.name, { ...record, copies: { ...record.copies, [this.host]: copy } }, revision, HOSTILE)
  }

  /** A tombstone of a volume that nobody has removed. */
  #bury({ id, name }: VolumeRecord): void {
    const { random, registry, hosts, trace } = this.#world
    if (registry.removed.truth(id) !== null) return
    const lost = random.hit(0.5) ? hosts : undefined
    const tombstone: RemovedRecord = { id, name, removedAt: new Date(0).toISOString(), hosts, lost }
    trace(this.host, `FORGED: a tombstone of ${name}${lost === undefined ? '' : ', all hosts given up'}`)
    registry.removed.commit(id, tombstone, null, HOSTILE)
  }

  #lie(): void {
    const { random, hosts, timeline, trace } = this.#world
    if (this.claimed !== null) return
    this.claimed = random.pick(hosts.filter((host) => host !== this.host))
    trace(this.host, `FORGED: its heartbeat names the address of ${this.claimed}`)
    timeline.after(random.between(LIE_LEAST_MS, LIE_MOST_MS), () => {
      this.claimed = null
    })
  }

  #checkpoint({ epoch, last }: VolumeRecord): Checkpoint {
    const { random } = this.#world
    const number = FORGED_NUMBERS + random.whole(1, 1_000_000)
    const tree = EMPTY.append({ number, host: this.host, container: 'forged', atMs: 0 })
    this.#trees.set(tree.hash, tree)
    const seq = (last?.seq ?? 0) + random.pick([0, 1, 100])
    return { epoch, seq, hash: tree.hash, at: new Date(0).toISOString(), bytes: 1, files: 1 }
  }
}
