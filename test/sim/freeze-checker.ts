import type { Container } from './containers.ts'
import type { SimWorld } from './world.ts'

/** Timers, and clocks that differ. */
const FREEZE_SLACK_MS = 100
/** A killed plugin is started again, and asks its engine what is paused. */
const PLUGIN_BACK_MS = 5_000
/** An engine under load replies to a pause this late. */
const PAUSE_ANSWER_MS = 3_000

/** One freeze of one run of a container. */
interface Frozen {
  readonly run: number
  readonly freeze: number
  /** By its machine's own time: nobody can thaw anything while the machine is stopped. */
  readonly ranMs: number
}

/** Checks that no freeze or pause outlasts its reason (promises 11 and 13). */
export class FreezeChecker {
  readonly #world: SimWorld
  readonly #failed: (rule: string, text: string) => void
  readonly #frozen = new WeakMap<Container, Frozen>()
  #freezes = 0

  constructor(world: SimWorld, failed: (rule: string, text: string) => void) {
    this.#world = world
    this.#failed = failed
  }

  /** Wherry has frozen a container for a checkpoint, or thawed it. */
  froze(host: string, container: Container): void {
    const { options, settings, timeline } = this.#world
    const { ranMs } = this.#world.machine(host).clocks
    if (!container.frozen) {
      if (container.pausedByOtherMs !== null && container.state === 'paused')
        this.#failed('promise 13', `${container.id} on ${host}, which an operator has paused, was thawed`)
      return
    }
    if (options.consistency === 'live')
      this.#failed('promise 13', `${container.id} on ${host} was frozen for a checkpoint with consistency=live`)
    const since = { run: container.run, freeze: ++this.#freezes, ranMs }
    this.#frozen.set(container, since)
    timeline.after(settings.pauseBudgetMs + FREEZE_SLACK_MS, () => this.#requireThawed(host, container, since))
  }

  /** Only a pause of Docker's keeps a container frozen longer than the budget, or until a killed plugin is back. */
  #requireThawed(host: string, container: Container, since: Frozen): void {
    const now = this.#frozen.get(container)
    const isFrozen = container.run === since.run && now?.freeze === since.freeze && container.frozen
    if (!isFrozen || container.state === 'paused') return
    const { clocks, killedRanMs, stopped } = this.#world.machine(host)
    const { settings, timeline } = this.#world
    const lateMs = clocks.ranMs - since.ranMs - settings.pauseBudgetMs - FREEZE_SLACK_MS
    const isRestarting = clocks.ranMs - killedRanMs < PLUGIN_BACK_MS && lateMs < PLUGIN_BACK_MS
    if (lateMs > -1 && !isRestarting)
      this.#failed('promise 13', `${container.id} on ${host} is frozen for longer than the budget`)
    else {
      const againMs = stopped || lateMs > -1 ? FREEZE_SLACK_MS : -lateMs
      timeline.after(againMs, () => this.#requireThawed(host, container, since))
    }
  }

  /**
   * runc has read a container's freezer, to run a command or to pause. It refuses when Docker's state differs from the
   * freezer's.
   */
  looked(host: string, container: Container): void {
    const { freezers, clocks, killedRanMs } = this.#world.machine(host)
    // Between two plugins nobody is there to thaw.
    if (freezers.looksFrozen(container.id) && clocks.ranMs - killedRanMs > PLUGIN_BACK_MS)
      this.#failed('promise 13', `a command in ${container.id} on ${host}, or its pause, was refused: frozen`)
  }

  /** Wherry resumes a container. */
  released(host: string, container: Container): void {
    const { pausedByOtherMs, pausedByOtherNoted } = container
    // Known: a watchdog that dies between its note of a fence and the engine's reply leaves a note of a pause that was
    // not its own, and the engine does not tell whose it is.
    if (container.state !== 'paused' || pausedByOtherMs === null || pausedByOtherNoted) return
    const leftMs = this.#world.machine(host).killedMs - pausedByOtherMs
    if (leftMs < 0 || leftMs > PAUSE_ANSWER_MS)
      this.#failed('promise 11', `${container.id} on ${host}, which an operator has paused, was resumed`)
  }
}
