import type { ClusterRegistry } from './cluster-registry.ts'
import type { Network } from './network.ts'
import type { Life } from './process.ts'
import type { Chance } from './random.ts'

interface Subscription {
  readonly host: string
  readonly life: Life
  readonly subject: string
  readonly handler: (message: unknown, subject: string) => void
}

/** The bus: news that may be lost, late or doubled. It crosses where both ends have a server and these reach each other. */
export class News {
  readonly #subscriptions = new Set<Subscription>()
  readonly #chance: Chance
  readonly #network: Network
  readonly #registry: ClusterRegistry

  constructor(chance: Chance, network: Network, registry: ClusterRegistry) {
    this.#chance = chance
    this.#network = network
    this.#registry = registry
  }

  publish(from: string, subject: string, message: unknown): void {
    const server = this.#registry.serverOf(from)
    if (server === null) return
    for (const subscription of this.#subscriptions) {
      if (!matches(subscription.subject, subject) || this.#chance.hit(0.03)) continue
      const other = this.#registry.serverOf(subscription.host)
      if (other === null || !this.#network.way(server, other)) continue
      const deliver = () => subscription.handler(structuredClone(message), subject)
      subscription.life.after(this.#network.latencyMs(server, other) + 0.1, deliver)
      if (this.#chance.hit(0.01)) subscription.life.after(this.#chance.between(1, 2_000), deliver)
    }
  }

  subscribe(host: string, life: Life, subject: string, handler: Subscription['handler'], signal: AbortSignal): void {
    const subscription = { host, life, subject, handler }
    const stop = () => this.#subscriptions.delete(subscription)
    this.#subscriptions.add(subscription)
    life.whenEnded(stop)
    signal.addEventListener('abort', stop, { once: true })
  }
}

function matches(pattern: string, subject: string): boolean {
  if (pattern.endsWith('>')) return subject.startsWith(pattern.slice(0, -1))
  const parts = subject.split('.')
  const wanted = pattern.split('.')
  return parts.length === wanted.length && wanted.every((part, at) => part === '*' || part === parts[at])
}
