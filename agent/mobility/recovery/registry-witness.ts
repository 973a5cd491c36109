import { z } from 'zod'
import type { Peers } from '../../transfer/contract.ts'

/** A host that is up replies at once. One that does not reply is not waited for: it refuses by itself later. */
const REPLY_MS = 3_000

const reply = z.object({ seen: z.boolean().optional() })

/**
 * Asks the other hosts whether one of them has seen the registry's streams, and returns its address.
 * Null: none of those that replied has, so a missing stream was never there. Never rejects.
 */
export async function findRegistryWitness(
  peers: Peers,
  others: readonly { readonly address: string; readonly port: number }[],
  signal: AbortSignal,
): Promise<string | null> {
  const inTime = AbortSignal.any([signal, AbortSignal.timeout(REPLY_MS)])
  const asked = others.map(async (other) => {
    const answer = reply.safeParse(await peers.ask(other, { kind: 'registry' }, inTime))
    if (answer.data?.seen !== true) throw new Error('not seen')
    return other.address
  })
  return await Promise.any(asked).catch(() => null)
}
