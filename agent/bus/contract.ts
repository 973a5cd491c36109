/** Messages between agents. Never needed for correctness: they may be lost, late or doubled. */
export interface Bus {
  /** Sends JSON on `wherry.v1.<subject>`; dropped silently while disconnected. */
  publish(subject: string, message: unknown): void
  /**
   * Calls `handler` for each message on `wherry.v1.<subject>` until `signal` aborts; survives reconnects.
   * NATS wildcards are allowed. Messages that are not JSON are dropped and logged.
   */
  subscribe(subject: string, handler: (message: unknown, subject: string) => void, signal: AbortSignal): void
  /** Tells whether the connection is up; if not, `detail` says why in one line. */
  state(): { readonly connected: boolean; readonly detail: string }
}

/** What a host's own nats-server knows. */
export interface LeaderView {
  /** The host runs a registry server, or should run one. */
  readonly server: boolean
  /**
   * Its server sees a leader of the lease stream: a lease may be renewed or expired by some host.
   * Without a leader no host can take over a volume. A server that does not run sees none.
   */
  readonly leader: boolean
}
