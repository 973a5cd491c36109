/** Every error a user can meet, with its HTTP status in the agent's API. docs/errors.md documents each. */
export const ERROR_STATUS = {
  SETTING_INVALID: 500,
  OPTION_INVALID: 400,
  NAME_INVALID: 400,
  REQUEST_INVALID: 400,
  VOLUME_NOT_FOUND: 404,
  VOLUME_EXISTS: 409,
  VOLUME_IN_USE: 409,
  VOLUME_HELD_ELSEWHERE: 409,
  FAILOVER_REFUSED: 409,
  RELEASE_FAILED: 409,
  STATE_UNWRITABLE: 503,
  LEASE_LOST: 503,
  VOLUME_BUSY: 409,
  DATA_UNREACHABLE: 503,
  COPY_RUNNING: 503,
  COPY_DAMAGED: 500,
  REGISTRY_UNAVAILABLE: 503,
  RECORD_INVALID: 500,
  VERSION_SKEW: 409,
  AGENT_UNAVAILABLE: 503,
  ENGINE_UNREACHABLE: 503,
  FREEZER_UNREACHABLE: 503,
  TREE_CHANGED: 409,
  CHANGES_MISSED: 500,
  TREE_UNSUPPORTED: 422,
  MANIFEST_INVALID: 400,
  STAGE_INCOMPLETE: 409,
  HASH_MISMATCH: 409,
  STALE_EPOCH: 409,
  NOT_AT_CHECKPOINT: 409,
  DISK_FULL: 507,
  TRANSFER_CUT: 503,
  TLS_REFUSED: 503,
  PEER_REFUSED: 403,
  CERTIFICATE_INVALID: 500,
  NATS_SERVER_FAILED: 500,
  NATS_TOO_OLD: 500,
  STATE_LOCKED: 500,
  SYSTEM_CALL_FAILED: 500,
  INTERNAL: 500,
} as const

export type ErrorCode = keyof typeof ERROR_STATUS

/**
 * The one error class of the project. `message` says what happened, to which volume, on which host.
 * `hint` says what to do about it. Callers branch on `code`, never on the message.
 */
export class WherryError extends Error {
  override readonly name = 'WherryError'
  readonly code: ErrorCode
  readonly hint: string | undefined

  constructor(code: ErrorCode, message: string, more: { hint?: string; cause?: unknown } = {}) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause })
    this.code = code
    this.hint = more.hint
  }

  /** Prints one line for the operator: what happened, then what to do. */
  toLine(): string {
    return this.hint === undefined ? this.message : `${this.message} ${this.hint}`
  }
}

/** The code of an error that is ours; undefined for any other. */
export function codeOf(error: unknown): ErrorCode | undefined {
  return error instanceof WherryError ? error.code : undefined
}
