/** News between agents. Never needed for correctness: messages may be lost, late or doubled. */
export interface Bus {
  /** Sends JSON on `wherry.v1.<subject>`; lost without a word while disconnected. */
  publish(subject: string, message: unknown): void
  /** Calls `handler` for each message on `wherry.v1.<subject>` (NATS wildcards allowed) until `signal` aborts; survives reconnects. Messages that are not JSON are dropped and logged. */
  subscribe(subject: string, handler: (message: unknown, subject: string) => void, signal: AbortSignal): void
  /** Says whether the connection is up and, when not, why, in one line for people. */
  state(): { readonly connected: boolean; readonly detail: string }
}

/** What a host's own nats-server knows. */
export interface LeaderView {
  /** The host runs a registry server, or should. */
  readonly server: boolean
  /**
   * Its server knows a leader of the stream of the leases: there may be somebody who can end one, and without that nobody takes a volume over. A server that
   * does not run sees none.
   */
  readonly leader: boolean
}
