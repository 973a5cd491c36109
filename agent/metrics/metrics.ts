import { collectDefaultMetrics, Registry } from 'prom-client'
import type { Mobility } from '../mobility/contract.ts'
import type { Tally } from '../mobility/dependencies.ts'
import type { VolumeView } from '../mobility/volume-view.ts'
import { codeOf } from '../model/errors.ts'
import { Counts } from './counts.ts'
import { Gauges } from './gauges.ts'

/** Interval of the timer that measures the event loop's delay. Leases count in seconds. */
const EVENT_LOOP_PRECISION_MS = 100

/**
 * Metrics of this host in Prometheus' text format. docs/metrics.md describes them all.
 * Gauges are read from mobility at each scrape. Only events between scrapes are counted (`tally`).
 * Every sample carries the name of this host.
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

  /** Returns the text of one scrape. Metrics of volumes are left out while neither registry nor cache knows them. */
  async scrape(mobility: Pick<Mobility, 'list' | 'hosts' | 'health'>): Promise<string> {
    const [volumes, hosts, health] = await Promise.all([listIfKnown(mobility), mobility.hosts(), mobility.health()])
    this.#registry.setDefaultLabels({ host: health.host })
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
