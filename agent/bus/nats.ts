/** The only import of the NATS client: bus and registry take its types and functions from here. */
export {
  type ConnectionOptions as NatsConnectOptions,
  connect,
  headers,
  type JetStreamManager,
  type MsgHdrs,
  type MsgRequest,
  type NatsConnection,
  NatsError,
  type StreamConfig,
  type StreamInfo,
} from 'nats'
