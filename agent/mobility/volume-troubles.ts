import { codeOf } from '../model/errors.ts'
import type { Trouble } from '../model/model.ts'
import { retryAfterMs } from '../runtime/back-off.ts'
import type { Dependencies } from './dependencies.ts'
import { troubleOf } from './trouble.ts'

/** Outages end by themselves, and are noticed at once when they do. */
const OUTAGES: ReadonlySet<string | undefined> = new Set(['REGISTRY_UNAVAILABLE', 'ENGINE_UNREACHABLE'])
const MOST_TOLD = 50

/** A volume, as far as work on it can fail. */
export interface NamedVolume {
  readonly id: string
  readonly name: string
}

interface Failing {
  readonly trouble: Trouble
  readonly failures: number
  readonly dueMs: number
}

/** What the reconcile loop cannot do for a volume, by volume id and step: why, since when, and when it tries again. */
export class VolumeTroubles {
  readonly #dependencies: Pick<Dependencies, 'clock' | 'log'>
  readonly #failing = new Map<string, Map<string, Failing>>()

  constructor(dependencies: Pick<Dependencies, 'clock' | 'log'>) {
    this.#dependencies = dependencies
  }

  /** Whether a step should be tried now. */
  isDue(id: string, step: string): boolean {
    const failing = this.#failing.get(id)?.get(step)
    return failing === undefined || this.#dependencies.clock.elapsedMs() >= failing.dueMs
  }

  /** Notes a failure. True: this one is new; the same reason again only waits longer. An outage is not noted. */
  note({ id, name }: NamedVolume, step: string, error: unknown): boolean {
    if (OUTAGES.has(codeOf(error))) return true
    const { clock, log } = this.#dependencies
    const trouble = troubleOf(error, clock.now())
    const steps = this.#failing.get(id) ?? new Map<string, Failing>()
    const before = steps.get(step)
    const isSame = before?.trouble.code === trouble.code
    const failures = isSame ? before.failures + 1 : 1
    const since = isSame ? before.trouble.since : trouble.since
    steps.set(step, { trouble: { ...trouble, since }, failures, dueMs: clock.elapsedMs() + retryAfterMs(failures) })
    this.#failing.set(id, steps)
    if (isSame) log.debug({ err: error, volume: name, id, step, failures }, 'step failed again: retrying with back-off')
    return !isSame
  }

  /** The step was done. Without `step`: everything is tried at once, because a Mount or an operator has come. */
  clear(id: string, step?: string): void {
    const steps = this.#failing.get(id)
    if (step === undefined || steps === undefined) this.#failing.delete(id)
    else if (steps.delete(step) && steps.size === 0) this.#failing.delete(id)
  }

  /** What has failed for longest; null: nothing fails. */
  of(id: string): Trouble | null {
    const [first] = [...(this.#failing.get(id)?.values() ?? [])].sort(byAge)
    return first?.trouble ?? null
  }

  /** For the heartbeat: by volume id, bounded. `except`: ids of volumes of which something else is told. */
  all(except: (id: string) => boolean): Readonly<Record<string, Trouble>> {
    const found: [string, Trouble][] = []
    for (const id of this.#failing.keys()) {
      const trouble = this.of(id)
      if (trouble !== null && !except(id)) found.push([id, trouble])
      if (found.length >= MOST_TOLD) break
    }
    return Object.fromEntries(found)
  }
}

function byAge(a: Failing, b: Failing): number {
  return Date.parse(a.trouble.since) - Date.parse(b.trouble.since)
}
