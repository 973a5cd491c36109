import { z } from 'zod'
import type { SwarmService } from '../../docker/contract.ts'
import type { Context } from '../context.ts'
import { malformedReply } from '../record/errors.ts'
import { RECONCILE } from '../wakeups.ts'

/** What one host's engine knows of a volume. */
export interface ReferenceReply {
  /** Id of the host. */
  readonly host: string
  /** Containers in any state that mount the volume. */
  readonly containers: readonly { readonly name: string; readonly state: string }[]
  /**
   * Names of the Swarm's services that name it in their specs. `worker`: this host is in a Swarm and cannot list them;
   * `none`: it is in no Swarm.
   */
  readonly services: readonly string[] | 'worker' | 'none'
}

/** What a newer version adds is ignored. */
const replyMessage: z.ZodType<ReferenceReply> = z.object({
  host: z.string().min(1),
  containers: z.array(z.object({ name: z.string(), state: z.string() })),
  services: z.union([z.array(z.string()), z.literal('worker'), z.literal('none')]),
})

/**
 * Asks this host's engine now what refers to a volume. Rejects ENGINE_UNREACHABLE.
 * A hold without containers is reconciled at once, so that it ends.
 */
export async function findOwnReferences(
  context: Pick<Context, 'dependencies' | 'wakeups' | 'containerUses'>,
  { volume, name, removing }: { readonly volume: string; readonly name: string; readonly removing: boolean },
): Promise<ReferenceReply> {
  const { engine, store, self } = context.dependencies
  const [users, services, local] = await Promise.all([
    context.containerUses.refresh(),
    // A manager without a leader knows that there is a Swarm, and cannot say what is in it.
    engine.services().catch(() => 'worker' as const),
    store.copy(volume),
  ])
  const containers = users
    .filter(({ volumes }) => volumes.includes(name))
    .map((user) => ({ name: user.name, state: user.state }))
  if (containers.length === 0 && local?.held != null) {
    if (removing) context.containerUses.removalWaits(volume)
    context.wakeups.wake(RECONCILE)
  }
  return { host: self.id, containers, services: typeof services === 'string' ? services : naming(services, name) }
}

/** Parses another host's reply. REQUEST_INVALID when it cannot be understood. */
export function parseReferenceReply(value: unknown, from: string): ReferenceReply {
  const found = replyMessage.safeParse(value)
  if (found.success) return found.data
  throw malformedReply(`Host ${from}`, 'references', found.error)
}

function naming(services: readonly SwarmService[], volume: string): string[] {
  return services.filter(({ volumes }) => volumes.some((source) => mayName(source, volume))).map(({ name }) => name)
}

/**
 * Whether a mount's source is, or can become, the volume's name.
 * Swarm fills templates in for each task (docs.docker.com/reference/cli/docker/service/create).
 */
export function mayName(source: string, volume: string): boolean {
  const literals = source.split(/\{\{.*?\}\}/s)
  if (literals.length === 1) return source === volume
  const pattern = literals.map((literal) => literal.replaceAll(/[^a-zA-Z0-9]/g, '\\$&')).join('.*')
  return new RegExp(`^${pattern}$`).test(volume)
}
