import type { LeaderView } from '../../agent/bus/contract.ts'
import { leaderlessQuorum } from '../../agent/bus/plan.ts'
import type { HostRecord, VolumeRecord } from '../../agent/model/model.ts'
import type { Timeline } from '../fake/timeline.ts'
import type { Network } from './network.ts'
import { type Commit, RaftGroup } from './raft-group.ts'
import type { Random } from './random.ts'

/** JetStream keeps at most this many replicas of a stream here (design: min(3, servers)). */
const REPLICAS_MOST = 3

/** When the streams were made of a registry that no host has seen before. */
const IMPOSTOR = 'by a fresh host'

/** One agent's subscription to the messages of one group. */
interface Listener {
  readonly host: string
  readonly group: string
  readonly take: (commit: Commit) => void
}

/** All nats-servers of the cluster, and the three streams of the registry. */
export class ClusterRegistry {
  /** Hosts that run a server. */
  readonly servers: readonly string[]
  readonly volumes: RaftGroup
  readonly hosts: RaftGroup
  readonly removed: RaftGroup
  readonly #running = new Set<string>()
  readonly #network: Network
  readonly #listeners = new Set<Listener>()
  readonly #world: { random: Random; onForeign: (commit: Commit) => void }
  readonly trace: (who: string, what: string) => void
  /** A registry is there that no host has seen before. */
  isImpostor = false
  /** How often the operator has begun with an empty one. */
  #wipes = 0
  /** Probability that the reply to a client is lost. */
  lostAnswers = 0
  /** How long a write may still happen after it was given up. */
  lateWriteMs = 3_000

  constructor(
    servers: readonly string[],
    world: {
      timeline: Timeline
      random: Random
      network: Network
      onCommit: (commit: Commit) => void
      /** Called for a record in a registry that no host has seen before. */
      onForeign: (commit: Commit) => void
      readonly trace: (who: string, what: string) => void
    },
  ) {
    this.servers = servers
    this.#network = world.network
    this.#world = world
    this.trace = world.trace
    const up = (host: string) => this.#running.has(host)
    const group = (name: string) => {
      const replicas = world.random.shuffle(servers).slice(0, REPLICAS_MOST)
      return new RaftGroup(name, replicas, world, up, (commit) => this.#committed(commit, world.onCommit))
    }
    this.volumes = group('volumes')
    this.hosts = group('hosts')
    this.removed = group('removed')
  }

  /** The agents' own rule. */
  get leaderlessQuorum(): number {
    const { servers } = this
    return leaderlessQuorum({ servers: [...servers], replicas: Math.min(REPLICAS_MOST, servers.length) })
  }

  get groups(): readonly RaftGroup[] {
    return [this.volumes, this.hosts, this.removed]
  }

  look(): void {
    for (const group of this.groups) group.look()
  }

  /** When its streams were made. */
  get madeAt(): string {
    return this.isImpostor ? IMPOSTOR : `by the operator, ${this.#wipes}`
  }

  /** Whether hosts know the registry that was made then, or were told of it. */
  isKnown(madeAt: string): boolean {
    return madeAt !== IMPOSTOR
  }

  /** The servers lose their disks, and a fresh host creates an empty registry; returns what brings the old one back. */
  makeAnew(): () => void {
    if (this.isImpostor) return () => undefined
    this.isImpostor = true
    const putBack = this.groups.map((group) => group.exchange())
    return () => {
      for (const put of putBack) put()
      this.isImpostor = false
    }
  }

  /** All servers come back with empty disks, and every host is told so by the operator. */
  wipe(): void {
    this.#wipes++
    for (const group of this.groups) group.wipe()
    this.look()
  }

  startServer(host: string): void {
    if (!this.servers.includes(host)) return
    this.#running.add(host)
    this.look()
  }

  stopServer(host: string): void {
    if (this.#running.delete(host)) this.look()
  }

  isRunning(host: string): boolean {
    return this.#running.has(host)
  }

  /** The server that a host's agent is connected to: its own if it has one, else any within reach. */
  serverOf(host: string): string | null {
    if (this.servers.includes(host)) return this.#running.has(host) ? host : null
    return this.servers.find((server) => this.#running.has(server) && this.#network.linked(host, server)) ?? null
  }

  leaderView(host: string): LeaderView {
    return { server: this.servers.includes(host), leader: this.hosts.sees(host) }
  }

  /** The newest record of a volume, whoever can read it. */
  record(name: string): VolumeRecord | null {
    return this.volumes.truth(name) as VolumeRecord | null
  }

  host(id: string): HostRecord | null {
    return this.hosts.truth(id) as HostRecord | null
  }

  /** Calls `take` for what is committed to a group, as far as it reaches the host. */
  listen(host: string, group: RaftGroup, take: Listener['take']): () => void {
    const listener = { host, group: group.name, take }
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #committed(commit: Commit, tell: (commit: Commit) => void): void {
    if (!this.isImpostor) tell(commit)
    else if (commit.group === 'volumes') this.#world.onForeign(commit)
    for (const listener of this.#listeners) {
      if (listener.group !== commit.group) continue
      const server = this.serverOf(listener.host)
      const { leader } = this[commit.group as 'volumes' | 'removed' | 'hosts']
      if (server === null || this.#world.random.hit(0.05)) continue
      if (leader !== null && leader !== server && !this.#network.way(leader, server)) continue
      listener.take(commit)
    }
  }
}
