import { fileURLToPath } from 'node:url'
import type { Logger } from 'pino'
import { openIdentity } from '../host/certificates.ts'
import { WherryError } from '../model/errors.ts'
import { BufferPool } from '../runtime/buffer-pool.ts'
import { type FaultPoint, noFault } from '../runtime/fault-point.ts'
import { openStore } from '../store/store.ts'
import type { SnapshotRef } from '../store/tree-contract.ts'
import type { Peers, Puller, QueryHandler, TreeSource, VolumePuller } from '../transfer/contract.ts'
import { createPuller } from '../transfer/receive/puller.ts'
import { createPeers } from '../transfer/receive/query-peer.ts'
import { serveTransfer } from '../transfer/send/server.ts'
import { type MoverOptions, storeAnswers } from './store-proxy.ts'
import type { Answers, Line } from './thread-rpc.ts'

/** Often enough for an operator who watches, too seldom to cost anything. */
const PROGRESS_MS = 200

/** Where scripts/setup and scripts/build-plugin put the tracker's program. */
const TRACKER_OBJECT = fileURLToPath(import.meta.resolve('#tracker-program'))

/** Rejects queries: a host without peers never gets here, because all copies are its own. */
const NO_PEERS: Puller & Peers = { pull: noPeers, ask: noPeers }
async function noPeers(): Promise<never> {
  throw new WherryError('TRANSFER_CUT', 'This host has no peers.', { hint: 'Set WHERRY_PEERS.' })
}

/**
 * Opens store, certificates and transfer in the mover's thread; returns the calls for the main thread.
 * Rejects as `openStore` and `openIdentity` do; nothing stays open then. `faultPoint` is for tests.
 */
export async function openServices(
  options: MoverOptions,
  line: Line,
  log: Logger,
  faultPoint: FaultPoint = noFault,
): Promise<Answers> {
  await using opening = new AsyncDisposableStack()
  const { tls, bandwidthBytesPerSecond = null } = options
  const memory = new BufferPool()
  const identity = tls === null ? null : opening.use(await openIdentity({ ...tls, log }))
  const store = opening.use(await openStore({ ...options, log, memory, faultPoint, trackerObject: TRACKER_OBJECT }))
  const puller = identity === null ? NO_PEERS : createPuller({ identity, log, memory })
  const peers = identity === null ? NO_PEERS : createPeers({ identity, memory })
  const stack = opening.move()

  const pull: VolumePuller['pull'] = async (from, request, volume, signal, onProgress) => {
    await using writer = await store.writer(volume)
    const tell = () => onProgress(writer.progress())
    const timer = setInterval(tell, PROGRESS_MS)
    try {
      return await puller.pull(from, request, writer, signal)
    } finally {
      clearInterval(timer)
      tell()
    }
  }
  const source: TreeSource = async (request, peer, signal) => {
    const ref = (await line.call('choose', request, peer, signal)) as SnapshotRef
    return store.reader(ref)
  }
  const answer: QueryHandler = (question, peer, signal) => line.call('answer', question, peer, signal)
  const ask: Peers['ask'] = (...args) => peers.ask(...args)
  const serving = stack.use(new AsyncDisposableStack())
  return {
    ...storeAnswers(store),
    pull,
    ask,
    async serve(host: string, port: number) {
      if (identity === null) throw new WherryError('INTERNAL', 'A host without certificates cannot serve its peers.')
      const parts = { identity, source, answer, log, memory, bandwidthBytesPerSecond, faultPoint }
      return serving.use(await serveTransfer({ host, port, ...parts })).port
    },
    stopServing: () => serving.disposeAsync(),
    close: () => stack.disposeAsync(),
  }
}
