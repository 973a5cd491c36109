import { NatsError } from '../bus/nats.ts'

/** JSClusterNoPeersErrF of nats-server's errors.json. */
const NO_PEERS = 10_005

/** Returns the JetStream API's error code (nats-server's errors.json); undefined for other errors. */
export function apiCode(error: unknown): number | undefined {
  return error instanceof NatsError ? error.api_error?.err_code : undefined
}

/** Says what a failed request of the NATS client met. Its own text for the two common cases is a code. */
export function describeNatsError(error: unknown): string {
  const { message } = error as Error
  if (!(error instanceof NatsError)) return message
  if (apiCode(error) === NO_PEERS) return 'too few of its servers run to make its streams'
  if (error.code === '503') return 'none of its servers serves its streams'
  return error.code === 'TIMEOUT' ? 'no reply in time' : message
}
