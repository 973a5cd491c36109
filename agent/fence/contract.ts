/** A container that we paused for a fence, or were about to: written down before it happens. */
export interface Pause {
  readonly container: string
  /** Ids of the volumes because of which it was paused. */
  readonly volumes: readonly string[]
}

/**
 * What this host has paused (`<state>/pauses/`), shared by agent and watchdog, one of which may die at any time. All calls are safe to repeat and
 * safe beside each other, also from two processes. `which` is asked about each volume of a pause by itself.
 */
export interface Pauses {
  all(): Promise<readonly Pause[]>
  /**
   * Pauses containers, all at once. Written down first (it outlives every process; no pause outlives the kernel); what was paused by somebody else is neither paused
   * nor noted. Answers those that are paused by us now. A container that could not be paused rejects ENGINE_UNREACHABLE after the others were tried; it may still
   * happen and stays noted: resume it.
   */
  pause(containers: readonly Pause[]): Promise<readonly Pause[]>
  /**
   * Resumes those of our pauses, and forgets them. A container stays paused until all volumes for which it is are let
   * go.
   */
  resume(which: (pause: Pause) => boolean): Promise<void>
  /** Kills those of our paused containers, and forgets them. */
  kill(which: (pause: Pause) => boolean): Promise<void>
}

/** A volume whose containers must not run past the lease. */
export interface GuardedVolume {
  readonly id: string
  /** As containers' mounts name it. */
  readonly name: string
  readonly epoch: number
}

/** What the agent tells the watchdog at every renewal. */
export interface Guard {
  /** CLOCK_BOOTTIME in ms at which the lease ends. */
  readonly untilMs: number
  readonly volumes: readonly GuardedVolume[]
}

/** The watchdog in the plugin's process, as the agent sees it. */
export interface Watchdog {
  /** Replaces what was told before. Never waits and never fails: the watchdog acts on the last it heard. */
  guard(guard: Guard): void
  /** What it guarded when this agent started, by the word of the agent before. Never rejects; the same each time. */
  inherited(): Promise<readonly GuardedVolume[]>
}

/** Containers that are to stand still for a moment, below Docker's state. */
export interface FreezeRequest {
  /** Never used again. */
  readonly id: string
  readonly containers: readonly string[]
  /** How long they may stand still at most. */
  readonly budgetMs: number
}

/**
 * That the containers of a freeze run again. `why` null: they stood still until they were let go by whoever asked. Else
 * something else came first, and they may have written:
 * `budget`: the budget was over; `command`: a command was to be run in one of them, or it was to be paused or let go on
 * by Docker; `changed`: one of them did not stand still any more;
 * `fence`, `agent`, `replaced`: the lease, the agent or the request was over; `plugin`: nothing is heard from its
 * process; `failed`: they could not be frozen, see `error`.
 */
export interface FreezeEnd {
  readonly id: string
  readonly why: null | 'budget' | 'command' | 'changed' | 'fence' | 'agent' | 'plugin' | 'replaced' | 'failed'
  /** How long they stood still; null: it was over before. */
  readonly frozenMs: number | null
  readonly error?: { readonly message: string; readonly hint?: string | undefined } | undefined
}

/** Containers that stand still. */
export interface Freeze {
  /** Aborts as soon as they do not any more. */
  readonly cut: AbortSignal
  /** Lets them go on; resolves when they run. Never rejects; may be repeated, and answers the same. */
  end(): Promise<FreezeEnd>
}

/**
 * Freezes containers for checkpoints, as the agent sees it: the plugin's process does it, and ends it when the budget
 * is over.
 */
export interface Freezes {
  /**
   * Resolves when all of the containers stand still, or when it was cut before they did. Rejects FREEZER_UNREACHABLE,
   * and with the signal's reason; then none is frozen by it. One freeze at a time: another one cuts the one before.
   */
  freeze(containers: readonly string[], budgetMs: number, signal: AbortSignal): Promise<Freeze>
}
