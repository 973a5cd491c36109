import type { HostRecord } from '../../model/model.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import { boundList, wholeList } from './heartbeat-bounds.ts'
import { digestOfPeers } from './peer-lists.ts'

/** The heartbeat names no more damaged copies. */
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
    holds: held.length,
    uses: boundList(held.map((copy) => [copy.id, containerUses.live(copy.name)])),
    referrers: wholeList(containerUses.referrers()),
    covered: boundList(
      held.flatMap(({ id }) => {
        const covered = checkpointScheduler.covered(id)
        return covered === null ? [] : [[id, covered] as const]
      }),
    ),
    diverged: boundList(
      copies.filter(({ diverged }) => diverged.length > 0).map(({ id, diverged }) => [id, diverged.length]),
    ),
    namesakes: context.namesakes.names,
    stuck: boundList(
      Object.entries({ ...context.volumeTroubles.all((id) => isHeld.has(id)), ...context.releaseTroubles.all() }),
    ),
    late: boundList(Object.entries(checkpointScheduler.late())),
    damaged: boundList(damagedCopies(copies)),
    unwritable: context.stateDisk.trouble,
    freeBytes: space.freeBytes,
    totalBytes: space.totalBytes,
    zone: node.zone,
    draining: node.drained || drainFlag.get(),
    certificateEnds: dependencies.certificateEnds()?.toISOString() ?? null,
    peers: digestOfPeers(dependencies.peerAddresses.map(({ address }) => address)),
  }
}

/** The copies of this disk that are not their checkpoint, with the first path each, for the heartbeat. */
function damagedCopies(copies: readonly LocalCopy[]): (readonly [string, string])[] {
  const found = copies.flatMap(({ id, damaged }) => (damaged === null ? [] : [[id, damaged[0] ?? ''] as const]))
  return found.slice(0, MOST_NAMED)
}
