import type { Freeze, FreezeEnd, Freezes } from '../../agent/fence/contract.ts'
import type { FreezerFile, FreezerFiles, FreezerState } from '../../agent/fence/freezer.ts'
import type { FrozenNotes } from '../../agent/fence/frozen-notes.ts'
import { WherryError } from '../../agent/model/errors.ts'
import type { SimContainers } from './containers.ts'
import type { Machine } from './machine.ts'
import type { SimProcess } from './process.ts'
import type { Random } from './random.ts'
import type { Settings } from './settings.ts'

interface Guard {
  readonly paths: readonly string[]
  readonly process: SimProcess
  readonly knocked: () => void
}

/** The freezers of one host's containers, as its kernel has them: one bit for each. */
export class HostFreezers {
  readonly #containers: SimContainers
  readonly #guards = new Set<Guard>()
  readonly #isGuarded: boolean

  constructor(containers: SimContainers, { unguarded }: Settings) {
    this.#containers = containers
    this.#isGuarded = !unguarded
  }

  /** The freezers as one process has them. Its guards last as long as it lives. */
  of(process: SimProcess): FreezerFiles {
    return {
      open: async (id) => this.#open(id),
      forget: () => {},
      guard: (files, knocked) => {
        if (!this.#isGuarded) return null
        const guard: Guard = { paths: files.map(({ path }) => path), process, knocked }
        this.#guards.add(guard)
        return { [Symbol.dispose]: () => void this.#guards.delete(guard) }
      },
    }
  }

  /** Whether runc finds the container frozen when it runs a command or pauses. Guards are called first. */
  looksFrozen(id: string): boolean {
    for (const guard of [...this.#guards]) if (guard.process.alive && guard.paths.includes(id)) guard.knocked()
    return this.#containers.find(id)?.frozen === true
  }

  #open(id: string): FreezerFile {
    const container = this.#containers.find(id)
    if (container?.alive !== true) throw new WherryError('FREEZER_UNREACHABLE', `${id} has no control group.`)
    const { run } = container
    const isThere = () => container.alive && container.run === run
    return {
      path: id,
      state: (): FreezerState => (!isThere() ? 'gone' : container.frozen ? 'frozen' : 'thawed'),
      set: (frozen) => {
        if (isThere()) this.#containers.setFrozen(container, frozen)
      },
      [Symbol.dispose]: () => {},
    }
  }
}

/** `<state>/frozen.json` of one host, as one process reads and writes it. */
export function frozenNotesOf(machine: Machine, process: SimProcess, random: Random): FrozenNotes {
  const noted = new Map<string, readonly string[]>()
  const write = (freeze: string, containers: readonly string[]) =>
    process.call(random.between(0.1, 2), () => {
      noted.set(freeze, containers)
      machine.frozenNote = [...noted.values()].flat()
    })
  return { read: () => process.call(0.1, () => machine.frozenNote), write }
}

/** Freezes by the plugin's process, as an agent requests them over their channel. */
export class ChannelFreezes implements Freezes {
  static #asked = 0
  readonly #machine: Machine
  readonly #process: SimProcess
  readonly #random: Random

  constructor(machine: Machine, process: SimProcess, random: Random) {
    this.#machine = machine
    this.#process = process
    this.#random = random
  }

  async freeze(containers: readonly string[], budgetMs: number, signal: AbortSignal): Promise<Freeze> {
    signal.throwIfAborted()
    const { plugin } = this.#machine
    if (!plugin?.process.alive) throw new WherryError('FREEZER_UNREACHABLE', 'There is no plugin.')
    const id = String(ChannelFreezes.#asked++)
    const cut = new AbortController()
    const frozen = Promise.withResolvers<void>()
    const ended = Promise.withResolvers<FreezeEnd>()
    const fromPlugin = (run: () => void) => void this.#process.after(this.#messageMs(), run)
    const toPlugin = (run: () => void) => {
      if (this.#process.alive) plugin.process.after(this.#messageMs(), run)
    }
    const onEnd = (end: FreezeEnd) => {
      cut.abort(new Error('cut'))
      ended.resolve(end)
      frozen.resolve()
    }
    toPlugin(() =>
      plugin.freeze(
        { id, containers, budgetMs },
        () => fromPlugin(frozen.resolve),
        (end) => fromPlugin(() => onEnd(end)),
      ),
    )
    const end = () => {
      toPlugin(() => plugin.thaw(id))
      return ended.promise
    }
    const stop = () => void end()
    signal.addEventListener('abort', stop, { once: true })
    await frozen.promise
    signal.removeEventListener('abort', stop)
    if (signal.aborted) {
      await end()
      throw signal.reason
    }
    if (cut.signal.aborted && (await ended.promise).why === 'failed')
      throw new WherryError('FREEZER_UNREACHABLE', 'Containers could not be frozen.')
    return { cut: cut.signal, end }
  }

  /** Messages of one channel arrive in their order: none is sent before the last was replied to. */
  #messageMs(): number {
    return this.#random.between(0.1, 2)
  }
}
