import { codeOf, WherryError } from '../model/errors.ts'
import type { Context } from './context.ts'
import type { Health } from './contract.ts'
import { describeOtherLists } from './lease/peer-lists.ts'
import { describeSetAside } from './volume/finish-removal.ts'
import { describeRefused } from './volume/tombstones.ts'

/** What does not come from the decisions: standing notes about the settings. */
export interface About {
  readonly notes: () => readonly string[]
  /** Why this host's own nats-server does not run; null: it runs, or there is none. */
  readonly serverTrouble?: () => string | null
}

/** Returns how this host is: registry, engine, disk, lease, and notes for the operator. Never rejects. */
export async function readHealth(
  context: Pick<
    Context,
    'dependencies' | 'hosts' | 'lease' | 'containerUses' | 'stateDisk' | 'node' | 'refusedTombstones'
  >,
  about: About,
): Promise<Health> {
  const { dependencies, containerUses, stateDisk, node, lease } = context
  const { registry, bus, clock, pauses, self } = dependencies
  const serverTrouble = about.serverTrouble?.() ?? null
  const reply: Health['registry'] = await registry.hosts().then(
    () => ({ available: true, detail: bus.state().detail }),
    (error: unknown) => ({
      available: false,
      detail: [
        error instanceof WherryError ? error.toLine() : String(error),
        ...(serverTrouble === null ? [] : [describeServer(serverTrouble)]),
      ].join(' '),
      since: context.hosts.readAt,
      ...(serverTrouble === null && isOutage(error) && bus.state().refused !== true ? { waitsForHosts: true } : {}),
    }),
  )
  const failure = containerUses.failure()
  const { trouble } = stateDisk
  return {
    ready: reply.available && failure === null && trouble === null && serverTrouble === null,
    registry: reply,
    engine: { reachable: failure === null, detail: failure ?? node.name },
    state: { writable: trouble === null, detail: trouble?.text ?? '' },
    lease: { secondsLeft: Math.max(0, Math.round(lease.untilMs - clock.elapsedMs()) / 1000) },
    fenced: (await pauses.all()).map(({ container }) => container),
    notes: [
      ...(serverTrouble === null || !reply.available ? [] : [`${describeServer(serverTrouble)}. ${ONE_LESS}`]),
      ...about.notes(),
      ...describeOtherLists(context),
      ...describeRefused(context),
      ...(await describeSetAside(context).catch(() => [])),
    ],
    certificateEnds: dependencies.certificateEnds()?.toISOString() ?? null,
    hostId: self.id,
    host: node.name,
    version: self.version,
  }
}

/** Other servers reply meanwhile. */
const ONE_LESS = 'Until it runs, the registry has one server less. It is tried again by itself.'

function describeServer(trouble: string): string {
  return `This host's nats-server does not run: ${trouble}`
}

/** Whether a request failed for want of servers or a leader, which may pass when other hosts are up. */
function isOutage(error: unknown): boolean {
  return codeOf(error) === 'REGISTRY_UNAVAILABLE'
}
