import { NatsError } from '../bus/nats.ts'

/** The JetStream API's error code (nats-server's errors.json); undefined for any other error. */
export function apiCode(error: unknown): number | undefined {
  return error instanceof NatsError ? error.api_error?.err_code : undefined
}
