/** Messages between agents. Never needed for correctness: they may be lost, late or doubled. */
export interface Bus {
  /** Sends JSON on `wherry.v1.<subject>`. Dropped silently while disconnected. */
  publish(subject: string, message: unknown): void
  /**
   * Calls `handler` for each message on `wherry.v1.<subject>` (NATS wildcards allowed) until `signal` aborts.
   * Survives reconnects. Messages that are not JSON are dropped and logged.
   */
  subscribe(subject: string, handler: (message: unknown, subject: string) => void, signal: AbortSignal): void
  /**
   * Tells whether the connection is up, with one line for the operator that says why not.
   * `refused`: certificates or login of this host and a server do not fit, at the last probe.
   */
  state(): { readonly connected: boolean; readonly detail: string; readonly refused?: boolean }
}

/** What a host's own nats-server knows of the registry's leader. */
export interface LeaderView {
  /** The host runs a registry server, or should run one. */
  readonly server: boolean
  /**
   * True: its server knows a leader of the stream of the leases, so some host may be able to expire a lease.
   * False: as far as it knows, no host can, and so none can take a volume over. A server that is down knows no leader.
   */
  readonly leader: boolean
  /** The host has seen the registry's streams: they were lost if they are missing. Missing: an older version. */
  readonly seen?: boolean
}
