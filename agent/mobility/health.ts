import { WherryError } from '../model/errors.ts'
import type { Context } from './context.ts'
import type { Health } from './contract.ts'
import { describeSetAside } from './volume/finish-removal.ts'
import { describeRefused } from './volume/tombstones.ts'

/** What does not come from the decisions: standing notes about the settings. */
export interface About {
  readonly notes: () => readonly string[]
}

/** Returns how this host is: registry, engine, disk, lease, and notes for the operator. Never rejects. */
export async function readHealth(
  context: Pick<Context, 'dependencies' | 'lease' | 'containerUses' | 'stateDisk' | 'node' | 'refusedTombstones'>,
  about: About,
): Promise<Health> {
  const { dependencies, containerUses, stateDisk, node, lease } = context
  const { registry, bus, clock, pauses, self } = dependencies
  const reply = await registry.hosts().then(
    () => ({ available: true, detail: bus.state().detail }),
    (error: unknown) => ({
      available: false,
      detail: error instanceof WherryError ? error.toLine() : String(error),
    }),
  )
  const failure = containerUses.failure()
  const { trouble } = stateDisk
  return {
    ready: reply.available && failure === null && trouble === null,
    registry: reply,
    engine: { reachable: failure === null, detail: failure ?? node.name },
    state: { writable: trouble === null, detail: trouble?.text ?? '' },
    lease: { secondsLeft: Math.max(0, Math.round(lease.untilMs - clock.elapsedMs()) / 1000) },
    fenced: (await pauses.all()).map(({ container }) => container),
    notes: [...about.notes(), ...describeRefused(context), ...(await describeSetAside(context).catch(() => []))],
    hostId: self.id,
    version: self.version,
  }
}
