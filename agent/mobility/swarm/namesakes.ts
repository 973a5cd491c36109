import type { Context } from '../context.ts'
import type { Namesakes } from '../use-contract.ts'
import { NAMESAKES } from '../wakeups.ts'

/** For events that were missed. */
const SCAN_EVERY_MS = 60_000
/** Engines that create many volumes send many events. */
const LEAST_GAP_MS = 1_000
/** More do not fit into a heartbeat; a host with so many has one cause for all of them. */
const MOST_NAMES = 100

/**
 * Finds volumes of Docker's driver `local` on this host that have the name of a volume of ours.
 * `docker run -v NAME:/path` makes one when it names no driver and Wherry cannot reply just then (moby,
 * daemon/volume/service/store.go): the container runs with an empty directory.
 */
export class EngineNamesakes implements Namesakes {
  readonly #context: Pick<Context, 'dependencies' | 'wakeups'>
  #names: readonly string[] = []
  #local: ReadonlySet<string> = new Set()

  constructor(context: Pick<Context, 'dependencies' | 'wakeups'>) {
    this.#context = context
  }

  /** A volume of ours was created or has changed: scans at once when the engine has one of its name. */
  note(name: string): void {
    if (this.#local.has(name) && !this.#names.includes(name)) this.#context.wakeups.wake(NAMESAKES)
  }

  /** At most 100, as of the last scan. */
  get names(): readonly string[] {
    return this.#names
  }

  /** Scans at once, after each wakeup of `NAMESAKES`, and from time to time, until the agent stops. */
  async run(): Promise<void> {
    const { clock, signal, log } = this.#context.dependencies
    while (!signal.aborted) {
      // What happens during this scan, or before the next may begin, calls for another one.
      const woken = this.#context.wakeups.wait(NAMESAKES, (until) => clock.sleep(SCAN_EVERY_MS, until), signal)
      await this.#scan().catch((error: unknown) => log.debug({ err: error }, "scan of the engine's volumes failed"))
      await Promise.all([woken, clock.sleep(LEAST_GAP_MS, signal)])
    }
  }

  async #scan(): Promise<void> {
    const { engine, cache, log } = this.#context.dependencies
    const local = new Set(await engine.localVolumes())
    this.#local = local
    const { entries } = local.size === 0 ? { entries: [] } : await cache.list()
    const found = entries.map(({ value }) => value.name).filter((name) => local.has(name))
    const before = new Set(this.#names)
    this.#names = found.sort().slice(0, MOST_NAMES)
    for (const volume of this.#names.filter((name) => !before.has(name))) {
      log.warn(
        { volume },
        'engine has a volume of driver local with this name: containers without a driver get that one',
      )
    }
  }
}
