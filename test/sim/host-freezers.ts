import type { Freeze, FreezeEnd, Freezes } from '../../agent/fence/contract.ts'
import type { FreezerFile, FreezerFiles, FreezerState } from '../../agent/fence/freezer.ts'
import type { FrozenNotes } from '../../agent/fence/frozen-notes.ts'
import { WherryError } from '../../agent/model/errors.ts'
import type { Containers } from './containers.ts'
import type { Machine } from './machine.ts'
import type { Life } from './process.ts'
import type { Chance } from './random.ts'
import type { Settings } from './settings.ts'

interface Guard {
  readonly paths: readonly string[]
  readonly life: Life
  readonly knocked: () => void
}

/** The freezers of one host's containers, as its kernel has them: one bit for each, whoever sets it. */
export class HostFreezers {
  readonly #containers: Containers
  readonly #guards = new Set<Guard>()
  readonly #isGuarded: boolean

  constructor(containers: Containers, { unguarded }: Settings) {
    this.#containers = containers
    this.#isGuarded = !unguarded
  }

  /** As one process has them; what it guards it guards as long as it lives. */
  of(life: Life): FreezerFiles {
    return {
      open: async (id) => this.#open(id),
      forget: () => {},
      guard: (files, knocked) => {
        if (!this.#isGuarded) return null
        const guard: Guard = { paths: files.map(({ path }) => path), life, knocked }
        this.#guards.add(guard)
        return { [Symbol.dispose]: () => void this.#guards.delete(guard) }
      },
    }
  }

  /** Whether runc, about to run a command or to pause, finds the container frozen. Whoever guards it comes first. */
  looksFrozen(id: string): boolean {
    for (const guard of [...this.#guards]) if (guard.life.alive && guard.paths.includes(id)) guard.knocked()
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

/** `<state>/frozen.json` of one host, as one process has it. */
export function frozenNotesOf(machine: Machine, life: Life, chance: Chance): FrozenNotes {
  const noted = new Map<string, readonly string[]>()
  const write = (freeze: string, containers: readonly string[]) =>
    life.call(chance.between(0.1, 2), () => {
      noted.set(freeze, containers)
      machine.frozenNote = [...noted.values()].flat()
    })
  return { read: () => life.call(0.1, () => machine.frozenNote), write }
}

/** Freezes of the plugin's process, as an agent asks for them over their channel. */
export class ChannelFreezes implements Freezes {
  static #asked = 0
  readonly #machine: Machine
  readonly #life: Life
  readonly #chance: Chance

  constructor(machine: Machine, life: Life, chance: Chance) {
    this.#machine = machine
    this.#life = life
    this.#chance = chance
  }

  async freeze(containers: readonly string[], budgetMs: number, signal: AbortSignal): Promise<Freeze> {
    signal.throwIfAborted()
    const { plugin } = this.#machine
    if (!plugin?.life.alive) throw new WherryError('FREEZER_UNREACHABLE', 'There is no plugin.')
    const id = String(ChannelFreezes.#asked++)
    const cut = new AbortController()
    const still = Promise.withResolvers<void>()
    const ended = Promise.withResolvers<FreezeEnd>()
    const fromPlugin = (run: () => void) => void this.#life.after(this.#messageMs(), run)
    const toPlugin = (run: () => void) => {
      if (this.#life.alive) plugin.life.after(this.#messageMs(), run)
    }
    const onEnd = (end: FreezeEnd) => {
      cut.abort(new Error('cut'))
      ended.resolve(end)
      still.resolve()
    }
    toPlugin(() =>
      plugin.freeze(
        { id, containers, budgetMs },
        () => fromPlugin(still.resolve),
        (end) => fromPlugin(() => onEnd(end)),
      ),
    )
    const end = () => {
      toPlugin(() => plugin.thaw(id))
      return ended.promise
    }
    const stop = () => void end()
    signal.addEventListener('abort', stop, { once: true })
    await still.promise
    signal.removeEventListener('abort', stop)
    if (signal.aborted) {
      await end()
      throw signal.reason
    }
    if (cut.signal.aborted && (await ended.promise).why === 'failed')
      throw new WherryError('FREEZER_UNREACHABLE', 'Containers could not be frozen.')
    return { cut: cut.signal, end }
  }

  /** Messages of one channel arrive in their order: none is sent before the one before was answered. */
  #messageMs(): number {
    return this.#chance.between(0.1, 2)
  }
}
