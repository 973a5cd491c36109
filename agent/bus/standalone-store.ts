import { access, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { WherryError } from '../model/errors.ts'
import type { Endpoint } from './endpoint.ts'
import { listenOnLoopback, loopbackEndpoint } from './loopback.ts'
import { serverVersion } from './server-process.ts'
import { Supervisor } from './supervisor.ts'

/** A file in a store that was set aside: the records left behind. The operator removes it once they are settled. */
export const CONFLICTS_FILE = 'not-carried-over.txt'

export interface StandaloneStoreOptions {
  /** `<state>/nats`. */
  readonly dir: string
  readonly binary: string
  readonly lockFd: number
  readonly log: Logger
}

/**
 * The registry of this host from before it had peers.
 * A server in a cluster does not see the streams of a standalone server. So a temporary one on loopback serves the old
 * store until its records are migrated.
 */
export class StandaloneStore {
  readonly #options: StandaloneStoreOptions
  readonly path: string

  constructor(options: StandaloneStoreOptions) {
    this.#options = options
    this.path = join(options.dir, 'single')
  }

  /** Starts the temporary server. Disposing of the result ends it. */
  async serve(): Promise<{ endpoint: Endpoint } & AsyncDisposable> {
    const { binary, dir, lockFd, log } = this.#options
    const version = await serverVersion(binary)
    const endpoint = await loopbackEndpoint(dir, 'carry', version)
    const { tls } = endpoint
    if (tls === null) throw new WherryError('INTERNAL', 'The old registry has no certificate.')
    const configPath = join(dir, 'carry.conf')
    const supervisor = new Supervisor({
      binary,
      configPath,
      config: { version, storeDir: this.path, listen: listenOnLoopback(endpoint, tls) },
      lockFd,
      log,
    })
    return {
      endpoint,
      async [Symbol.asyncDispose]() {
        await supervisor[Symbol.asyncDispose]()
        for (const path of [configPath, join(dir, 'carry.log'), tls.cert, tls.key]) await rm(path, { force: true })
      },
    }
  }

  /**
   * Sets the store aside, so that it is not migrated again, with a note of the records left behind.
   * Returns its new path.
   */
  async retire(now: Date, conflicts: readonly string[]): Promise<string> {
    if (conflicts.length > 0) await writeFile(join(this.path, CONFLICTS_FILE), `${conflicts.join('\n')}\n`)
    const base = `${this.path}.carried-${now.toISOString().slice(0, 10)}`
    for (let n = 0; ; n++) {
      const target = n === 0 ? base : `${base}-${n}`
      const taken = await access(target).then(
        () => true,
        () => false,
      )
      if (taken) continue
      await rename(this.path, target)
      await rm(join(this.#options.dir, 'seen-single.json'), { force: true })
      return target
    }
  }
}
