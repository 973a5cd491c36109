import type { Logger } from 'pino'
import { Recycler } from '../recycler.ts'
import type { Identity } from '../tls.ts'
import type { Puller } from './contract.ts'
import { dial } from './dial.ts'
import { receiveTree } from './receiver.ts'

/** Brings trees from other hosts here, one connection for each pull. */
export function createPuller({
  identity,
  log,
  memory = new Recycler(),
}: {
  identity: Identity
  log: Logger
  memory?: Recycler
}): Puller {
  return {
    async pull(from, request, writer, signal) {
      await using channel = await dial(from, identity, memory, signal)
      const result = await receiveTree(channel, request, writer)
      log.debug({ from, volume: request.volume, ...result }, 'pulled a tree')
      return result
    },
  }
}
