/** A container that Wherry paused for a fence, or is about to: noted before it happens. */
export interface Pause {
  readonly container: string
  /** Ids of the volumes because of which it was paused. */
  readonly volumes: readonly string[]
}

/**
 * The containers that this host has paused for fences (`<state>/pauses/`).
 * Agent and watchdog share them, and either may die at any time.
 * Every call may be repeated, and may run beside others, also in another process.
 * `which` is asked about each volume of a pause separately.
 */
export interface Pauses {
  all(): Promise<readonly Pause[]>
  /**
   * Pauses containers in parallel, and returns those that are now paused by Wherry.
   * A container that somebody else has paused is neither paused nor noted.
   * Each pause is noted first. The note outlives every process; no pause outlives the kernel.
   * ENGINE_UNREACHABLE: a container could not be paused. The others were tried before. The pause may still
   * happen, so it stays noted: resume it.
   */
  pause(containers: readonly Pause[]): Promise<readonly Pause[]>
  /**
   * Resumes the chosen pauses and forgets them.
   * A container stays paused until it is resumed for every volume because of which it was paused.
   */
  resume(which: (pause: Pause) => boolean): Promise<void>
  /** Kills the containers of the chosen pauses, and forgets them. */
  kill(which: (pause: Pause) => boolean): Promise<void>
}

/** A volume whose containers must not run past the lease. */
export interface GuardedVolume {
  readonly id: string
  /** The volume's name in the mounts of containers. */
  readonly name: string
  readonly epoch: number
}

/** What the agent sends to the watchdog at every renewal of the lease. */
export interface Guard {
  /** The end of the lease: CLOCK_BOOTTIME in ms. */
  readonly untilMs: number
  readonly volumes: readonly GuardedVolume[]
}

/** The watchdog in the plugin's process, as the agent sees it. */
export interface Watchdog {
  /** Replaces the guard. Never waits and never fails: the watchdog acts on the last guard that arrived. */
  guard(guard: Guard): void
  /**
   * What the watchdog guarded when this agent started, by the word of the previous one.
   * `untilMs` -Infinity: nobody had told it anything. Never rejects; the same each time.
   */
  inherited(): Promise<Guard>
}

/** Containers to freeze for a moment, below Docker's state. */
export interface FreezeRequest {
  /** Never used again. */
  readonly id: string
  readonly containers: readonly string[]
  /** The longest time that they may be frozen. */
  readonly budgetMs: number
}

/**
 * The end of a freeze: its containers run again.
 * `why` is null when they were frozen until the agent ended the freeze. Otherwise they may have written before:
 * - `budget`: the budget was exceeded.
 * - `command`: a command was about to run in one of them, or Docker was about to pause or resume one.
 * - `changed`: one of them was no longer frozen.
 * - `fence`, `agent`, `replaced`: the lease expired, the agent ended, or another request came.
 * - `plugin`: the plugin's process does not reply.
 * - `failed`: they could not be frozen; `error` says why.
 */
export interface FreezeEnd {
  readonly id: string
  readonly why: null | 'budget' | 'command' | 'changed' | 'fence' | 'agent' | 'plugin' | 'replaced' | 'failed'
  /** How long they were frozen; null: it ended before. */
  readonly frozenMs: number | null
  readonly error?: { readonly message: string; readonly hint?: string | undefined } | undefined
}

/** Containers that are frozen. */
export interface Freeze {
  /** Aborts as soon as one of them is no longer frozen. */
  readonly cut: AbortSignal
  /** Thaws them; resolves when they run. Never rejects; may be repeated, and returns the same. */
  end(): Promise<FreezeEnd>
}

/**
 * Freezes containers for checkpoints, as the agent sees it.
 * The plugin's process does it, and thaws them when the budget is exceeded.
 */
export interface Freezes {
  /**
   * Resolves when all containers are frozen, or when the freeze was cut before.
   * One freeze at a time: another one cuts the one before.
   * Rejects FREEZER_UNREACHABLE, or with the signal's reason; then none is frozen by this call.
   */
  freeze(containers: readonly string[], budgetMs: number, signal: AbortSignal): Promise<Freeze>
}
