import type { Logger } from 'pino'
import type { Identity } from '../../host/certificates.ts'
import { BufferPool } from '../../runtime/buffer-pool.ts'
import { dial } from '../connection/dial.ts'
import type { Puller } from '../contract.ts'
import type { ProtocolRange } from '../wire/protocol.ts'
import { receiveTree } from './receive-tree.ts'

/** Fetches trees from other hosts, over one connection per pull. `spoken`: for tests with two versions. */
export function createPuller({
  identity,
  log,
  memory = new BufferPool(),
  spoken,
}: {
  identity: Identity
  log: Logger
  memory?: BufferPool
  spoken?: ProtocolRange
}): Puller {
  return {
    async pull(from, request, writer, signal) {
      await using channel = await dial(from, identity, memory, signal)
      const result = await receiveTree(channel, request, writer, spoken)
      log.debug({ from, volume: request.volume, ...result }, 'tree pulled')
      return result
    },
  }
}
