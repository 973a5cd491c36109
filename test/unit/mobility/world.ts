import { WherryError } from '../../../agent/model/errors.ts'
import type { Registry } from '../../../agent/registry/contract.ts'
import type { Peers, Query, VolumePuller } from '../../../agent/transfer/contract.ts'
import { VirtualClock } from '../../fake/clock.ts'
import { MemoryRegistry } from '../../fake/memory-registry.ts'
import { peerAt } from '../../fake/peer-identity.ts'
import { MemoryHost } from './memory-host.ts'

export type { MemoryHost } from './memory-host.ts'

/** Where every host's transfer server listens. */
const TRANSFER_PORT = 1
/** How often the watchdogs look at the time. */
const WATCH_MS = 100

/** A pull that was requested. */
export interface Pull {
  readonly by: string
  readonly volume: string
  readonly startMs: number
  end: 'done' | 'cut' | null
}

/**
 * Hosts that share a registry and virtual time, and copy trees from memory to memory. The decisions are the real ones.
 */
export class World {
  readonly clock = new VirtualClock()
  readonly registry = new MemoryRegistry()
  /** The registry's servers see a leader, whether it can be written to or not. */
  leaderSeen = false
  readonly names: string[] = []
  readonly hosts: MemoryHost[] = []
  /** How long a pull takes. */
  pullMs = 0
  /** All pulls that were requested, oldest first. */
  readonly pulls: Pull[] = []
  /** Whether the reply to a question never arrives. */
  losesReply: (question: Query) => boolean = () => false
  /** After how long a lost host is replaced. */
  replaceAfterMs = 600_000
  #ids = 0

  static async start(count: number, replaceAfterMs = 600_000): Promise<World> {
    const world = new World()
    world.replaceAfterMs = replaceAfterMs
    world.names.push(...Array.from({ length: count }, (_, n) => `h${n + 1}`))
    for (const name of world.names) world.hosts.push(new MemoryHost(world, name))
    for (const host of world.hosts) await host.agent.start()
    await world.clock.advance(3_000)
    return world
  }

  host(n: number): MemoryHost {
    const host = this.hosts[n - 1]
    if (host === undefined) throw new Error(`no host ${n}`)
    return host
  }

  newId(): string {
    return `id${++this.#ids}`
  }

  async record(name: string) {
    const entry = await this.registry.volume(name)
    if (entry === null) throw new Error(`no volume ${name}`)
    return entry.value
  }

  /** Mounts, writes the tree, unmounts, and waits for the release. */
  async use(n: number, name: string, tree: string): Promise<void> {
    const { agent, store } = this.host(n)
    await this.clock.until(agent.mount(name, 'use', 100_000))
    const { id } = await this.record(name)
    store.trees.set(id, tree)
    await agent.unmount(name, 'use')
    await this.clock.advance(1_000)
  }

  /** The registry as `host` reaches it. */
  registryOf(host: MemoryHost): Registry {
    return new Proxy<Registry>(this.registry, {
      get: (registry, name: keyof Registry) => {
        if (name === 'watch') return registry.watch.bind(registry)
        return async (...args: unknown[]) => {
          if (!host.connected) throw new WherryError('REGISTRY_UNAVAILABLE', 'The host is cut off.')
          return await (registry[name] as (...args: unknown[]) => Promise<unknown>).apply(registry, args)
        }
      },
    })
  }

  /** Questions of `host` straight to other hosts. */
  peersOf(host: MemoryHost): Peers {
    return {
      ask: async ({ address, port }, question, signal) => {
        const asked = this.hosts.find(({ name }) => name === address && port === TRANSFER_PORT)
        if (asked === undefined || !asked.connected || !host.connected)
          throw new WherryError('TRANSFER_CUT', 'not reached')
        const reply = await asked.agent.answer(question, peerAt(host.name), signal)
        if (this.losesReply(question)) throw new WherryError('TRANSFER_CUT', 'the reply is lost')
        return reply
      },
    }
  }

  /** Delivers a message to the newest agents of all hosts that `from` reaches. */
  publish(from: MemoryHost, subject: string, message: unknown): void {
    if (!from.connected) return
    for (const host of this.hosts.filter(({ connected }) => connected)) {
      for (const [wanted, hear] of host.subscribers) if (isMatch(wanted, subject)) hear(message, subject)
    }
  }

  /** Lets time pass with the watchdogs running. */
  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= WATCH_MS) {
      await this.clock.advance(Math.min(WATCH_MS, left))
      for (const host of this.hosts) await host.watch()
    }
  }

  /** Where `host` gets its copies from: the other hosts' disks. */
  pullerOf(host: MemoryHost): VolumePuller {
    return {
      pull: (from, request, volume, signal, onProgress) =>
        host.store.receive(volume, async (stage) => {
          const source = this.hosts.find(({ name }) => name === from.address)
          if (source === undefined || !source.connected || !host.connected)
            throw new WherryError('TRANSFER_CUT', 'nobody there')
          const { id, kind } = await source.agent.source(request, peerAt(host.name), signal)
          const { hash, tree: found } = await source.store.give(id, kind)
          const tree = found ?? ''
          const total = { bytesTotal: tree.length, filesTotal: 1 }
          onProgress({ ...total, bytesDone: 0, filesDone: 0 })
          const pull: Pull = { by: host.name, volume: volume.name, startMs: this.clock.elapsedMs(), end: null }
          this.pulls.push(pull)
          await this.clock.sleep(this.pullMs, signal)
          pull.end = signal.aborted ? 'cut' : 'done'
          signal.throwIfAborted()
          if (found === null) return { hash, bytes: 0, complete: false }
          stage(tree)
          onProgress({ ...total, bytesDone: tree.length, filesDone: 1 })
          return { hash, bytes: tree.length, complete: true }
        }),
    }
  }
}

/** Compares a subject with a subscription as NATS does: `*` stands for one part of it. */
function isMatch(wanted: string, subject: string): boolean {
  const parts = subject.split('.')
  const wantedParts = wanted.split('.')
  return wantedParts.length === parts.length && wantedParts.every((part, nth) => part === '*' || part === parts[nth])
}
