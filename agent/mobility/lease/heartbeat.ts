import type { HostRecord } from '../../model/model.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import { digestOfPeers } from './peer-lists.ts'

/** The heartbeat carries no more: it is written every second. */
const MOST_NAMED = 50

/** What changes from one heartbeat to the next beside its number. */
export type Heartbeat = Omit<HostRecord, 'renewal' | 'expiredBy' | 'incarnation' | 'at' | 'leaseMs' | 'seizeAfterMs'>

/** Returns what this host's heartbeat says, at once: `copies` is what was last known of the disk. */
export function describeHost(
  context: Pick<
    Context,
    | 'dependencies'
    | 'checkpointScheduler'
    | 'containerUses'
    | 'namesakes'
    | 'releaseTroubles'
    | 'volumeTroubles'
    | 'stateDisk'
    | 'node'
    | 'space'
  >,
  copies: readonly LocalCopy[],
): Heartbeat {
  const { dependencies, node, containerUses, space, checkpointScheduler } = context
  const { self, drainFlag } = dependencies
  const held = copies.filter((copy) => copy.held !== null)
  // Of a hold only what keeps it from being released is told so: others wait for that.
  const isHeld = new Set(held.map(({ id }) => id))
  return {
    id: self.id,
    name: node.name,
    address: self.address,
    transferPort: self.transferPort,
    version: self.version,
    swarmNode: node.swarmNode,
    uses: Object.fromEntries(held.map((copy) => [copy.id, containerUses.live(copy.name)])),
    referrers: containerUses.referrers(),
    covered: Object.fromEntries(
      held.flatMap(({ id }) => {
        const covered = checkpointScheduler.covered(id)
        return covered === null ? [] : [[id, covered]]
      }),
    ),
    diverged: Object.fromEntries(
      copies.filter(({ diverged }) => diverged.length > 0).map(({ id, diverged }) => [id, diverged.length]),
    ),
    namesakes: context.namesakes.names,
    stuck: { ...context.volumeTroubles.all((id) => isHeld.has(id)), ...context.releaseTroubles.all() },
    late: checkpointScheduler.late(),
    damaged: damagedCopies(copies),
    unwritable: context.stateDisk.trouble,
    freeBytes: space.freeBytes,
    totalBytes: space.totalBytes,
    zone: node.zone,
    draining: node.drained || drainFlag.get(),
    peers: digestOfPeers(dependencies.peerAddresses.map(({ address }) => address)),
  }
}

/** The copies of this disk that are not their checkpoint, with the first path each, for the heartbeat. */
function damagedCopies(copies: readonly LocalCopy[]): Record<string, string> {
  const found = copies.flatMap(({ id, damaged }) => (damaged === null ? [] : [[id, damaged[0] ?? ''] as const]))
  return Object.fromEntries(found.slice(0, MOST_NAMED))
}
