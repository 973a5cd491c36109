import { collectDefaultMetrics, Registry } from 'prom-client'
import type { Mobility, VolumeView } from '../mobility/contract.ts'
import type { Tally } from '../mobility/dependencies.ts'
import { codeOf } from '../model/errors.ts'
import { Counts } from './counts.ts'
import { Gauges } from './gauges.ts'

/** How exactly the delay of the event loop is measured: a timer this often, and a lease counts in seconds. */
const EVENT_LOOP_PRECISION_MS = 100

/**
 * What a monitor may know of this host, in Prometheus' text format. What is, is asked of the decisions at each scrape; only what happens in between is counted
 * (`tally`). Every sample carries the name of this host. docs/metrics.md describes them all.
 */
export class Metrics {
  readonly #registry = new Registry()
  readonly #counts = new Counts(this.#registry)
  readonly #gauges = new Gauges(this.#registry)

  constructor() {
    collectDefaultMetrics({ register: this.#registry, eventLoopMonitoringPrecision: EVENT_LOOP_PRECISION_MS })
  }

  get tally(): Tally {
    return this.#counts
  }

  /** The text of one scrape. While the registry is away and the volumes are not known either, theirs are left out. */
  async scrape(mobility: Pick<Mobility, 'list' | 'hosts' | 'health'>): Promise<string> {
    const [volumes, hosts, health] = await Promise.all([listIfKnown(mobility), mobility.hosts(), mobility.health()])
    const self = hosts.find((host) => host.self)
    this.#registry.setDefaultLabels({ host: self?.name ?? health.hostId })
    this.#gauges.set({ volumes: volumes ?? [], hosts: hosts.length, health })
    if (volumes !== null) this.#counts.keep(volumes.map(({ name }) => name))
    return await this.#registry.metrics()
  }
}

async function listIfKnown(mobility: Pick<Mobility, 'list'>): Promise<readonly VolumeView[] | null> {
  try {
    return await mobility.list()
  } catch (error) {
    if (codeOf(error) === 'REGISTRY_UNAVAILABLE') return null
    throw error
  }
}
