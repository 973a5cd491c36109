/** News between agents. Never needed for correctness: messages may be lost, late or doubled. */
export interface Bus {
  /** Sends JSON on `wherry.v1.<subject>`; lost without a word while disconnected. */
  publish(subject: string, message: unknown): void
  /** Calls `handler` for each message on `wherry.v1.<subject>` (NATS wildcards allowed) until `signal` aborts; survives reconnects. Messages that are not JSON are dropped and logged. */
  subscribe(subject: string, handler: (message: unknown, subject: string) => void, signal: AbortSignal): void
  /** Says whether the connection is up and, when not, why, in one line for people. */
  state(): { readonly connected: boolean; readonly detail: string }
}
