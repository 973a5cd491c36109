import type { PlacedTask } from '../../docker/contract.ts'
import type { VolumeRecord } from '../../model/model.ts'
import { describeOptions, unmetOptions } from '../../model/volume-options.ts'
import type { Dependencies } from '../dependencies.ts'

/**
 * Warns of each service that asks for other options than its volume has, once for each change.
 * Docker does not: it never asks for a volume with options when there is one of that name (moby,
 * daemon/volume/service/store.go, create).
 */
export class ServiceOptions {
  readonly #log: Pick<Dependencies['log'], 'warn'>
  /** What each service was last said to ask for in vain, by service and volume. */
  #said: ReadonlyMap<string, string> = new Map()

  constructor(log: Pick<Dependencies['log'], 'warn'>) {
    this.#log = log
  }

  /** Compares all tasks of the Swarm with the records of their volumes. */
  compare(tasks: readonly PlacedTask[], records: ReadonlyMap<string, VolumeRecord>): void {
    const found = new Map<string, string>()
    for (const { service, options } of tasks) {
      for (const [volume, given] of Object.entries(options)) {
        const record = records.get(volume)
        if (record === undefined) continue
        const asked = unmetOptions(record.options, given).join(' ')
        const key = `${service} ${record.id}`
        if (asked === '' || found.has(key)) continue
        found.set(key, asked)
        if (this.#said.get(key) === asked) continue
        this.#log.warn(
          { volume, service, asked, options: describeOptions(record.options) },
          'service asks for options that its volume does not have: options never change',
        )
      }
    }
    this.#said = found
  }
}
