import type { ClusterRegistry } from './cluster-registry.ts'
import type { Network } from './network.ts'
import type { SimProcess } from './process.ts'
import type { Random } from './random.ts'

interface Subscription {
  readonly host: string
  readonly process: SimProcess
  readonly subject: string
  readonly handler: (message: unknown, subject: string) => void
}

/**
 * The bus: messages may be lost, late or doubled. They cross where both hosts have a server and the servers are linked.
 */
export class SimBus {
  readonly #subscriptions = new Set<Subscription>()
  readonly #random: Random
  readonly #network: Network
  readonly #registry: ClusterRegistry

  constructor(random: Random, network: Network, registry: ClusterRegistry) {
    this.#random = random
    this.#network = network
    this.#registry = registry
  }

  publish(from: string, subject: string, message: unknown): void {
    const server = this.#registry.serverOf(from)
    if (server === null) return
    for (const subscription of this.#subscriptions) {
      if (!matches(subscription.subject, subject) || this.#random.hit(0.03)) continue
      const other = this.#registry.serverOf(subscription.host)
      if (other === null || !this.#network.way(server, other)) continue
      const deliver = () => subscription.handler(structuredClone(message), subject)
      subscription.process.after(this.#network.latencyMs(server, other) + 0.1, deliver)
      if (this.#random.hit(0.01)) subscription.process.after(this.#random.between(1, 2_000), deliver)
    }
  }

  subscribe(
    host: string,
    process: SimProcess,
    subject: string,
    handler: Subscription['handler'],
    signal: AbortSignal,
  ): void {
    const subscription = { host, process, subject, handler }
    const stop = () => this.#subscriptions.delete(subscription)
    this.#subscriptions.add(subscription)
    process.whenEnded(stop)
    signal.addEventListener('abort', stop, { once: true })
  }
}

function matches(pattern: string, subject: string): boolean {
  if (pattern.endsWith('>')) return subject.startsWith(pattern.slice(0, -1))
  const parts = subject.split('.')
  const wanted = pattern.split('.')
  return parts.length === wanted.length && wanted.every((part, at) => part === '*' || part === parts[at])
}
