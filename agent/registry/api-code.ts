import { NatsError } from '../bus/nats.ts'

/** Returns the JetStream API's error code (nats-server's errors.json); undefined for other errors. */
export function apiCode(error: unknown): number | undefined {
  return error instanceof NatsError ? error.api_error?.err_code : undefined
}
