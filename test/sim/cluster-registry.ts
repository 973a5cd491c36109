import type { LeaderView } from '../../agent/bus/contract.ts'
import { leaderlessQuorum } from '../../agent/bus/plan.ts'
import type { HostRecord, VolumeRecord } from '../../agent/model/model.ts'
import type { Timeline } from '../fake/timeline.ts'
import type { Network } from './network.ts'
import { type Commit, RaftGroup } from './raft-group.ts'
import type { Random } from './random.ts'

/** JetStream keeps at most this many replicas of a stream here (design: min(3, servers)). */
const REPLICAS_MOST = 3

/** All nats-servers of the cluster, and the three streams of the registry. */
export class ClusterRegistry {
  /** Hosts that run a server. */
  readonly servers: readonly string[]
  readonly volumes: RaftGroup
  readonly hosts: RaftGroup
  readonly removed: RaftGroup
  readonly #running = new Set<string>()
  readonly #network: Network
  readonly #watchers = new Set<{ host: string; wake: (name: string | null) => void }>()
  readonly #world: { timeline: Timeline; random: Random; network: Network }
  readonly trace: (who: string, what: string) => void
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

  /** All servers come back with empty disks. */
  wipe(): void {
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

  watch(host: string, wake: (name: string | null) => void): () => void {
    const watcher = { host, wake }
    this.#watchers.add(watcher)
    return () => this.#watchers.delete(watcher)
  }

  #committed(commit: Commit, tell: (commit: Commit) => void): void {
    tell(commit)
    if (commit.group === 'hosts') return
    const name = commit.group === 'volumes' ? commit.key : null
    for (const watcher of this.#watchers) {
      if (this.serverOf(watcher.host) === null || this.#world.random.hit(0.05)) continue
      watcher.wake(name)
    }
  }
}
