import { z } from 'zod'
import { WherryError } from '../model/errors.ts'
import type { LeaderView } from './contract.ts'
import type { NatsPlan } from './plan.ts'
import { SINGLE_NAME, serverName } from './server-config.ts'

/** The monitoring port answers from memory, in milliseconds. Whoever asks asks again a second later. */
const ANSWER_TIMEOUT_MS = 900

/**
 * A leader is heard from every second at least, and hears from its followers as often (hbInterval in nats-server's raft.go; on three idle servers
 * 2.15.1 `active` never passed 1.0 s on either side). Without a limit of our own a leader that lost its followers calls itself one for
 * 10 to 20 s more (lostQuorumInterval, lostQuorumCheck), and a follower names a leader that is gone for 4 to 9 s (its election timeout): longer
 * than the lease that hangs on the answer.
 */
const SILENT_MS = 2_000

/** What `/jsz?streams=1` says of the streams of which this server has a replica; of others it says nothing. */
const jsz = z.object({
  account_details: z
    .array(
      z.object({
        stream_detail: z
          .array(
            z.object({
              name: z.string(),
              cluster: z
                .object({
                  /** Left out: none is known. */
                  leader: z.string().default(''),
                  /** The other members of the group; left out: there are none. `active`: nanoseconds since it was heard of. */
                  replicas: z.array(z.object({ name: z.string(), active: z.number().default(0) })).default([]),
                })
                .optional(),
            }),
          )
          .default([]),
      }),
    )
    .default([]),
})

type Group = NonNullable<z.output<typeof jsz>['account_details'][number]['stream_detail'][number]['cluster']>

/** This host's server, as far as it is needed here. */
export interface Monitored {
  monitor(path: string, timeoutMs: number): Promise<unknown>
}

export interface SightOptions {
  readonly plan: NatsPlan
  /** This host's address in the plan. */
  readonly advertise: string
  readonly server: Monitored
  /**
   * JetStream's name of the stream that leases are written to. Of the others nothing follows: after an outage each stream has its own election, and one that has
   * a leader does not help to renew or to end a lease.
   */
  readonly stream: string
}

/**
 * Makes the question what this host's own registry server knows, of itself and now. `leader` is false only when the `stream` cannot
 * be written to with this server's help: it does not run, has no replica of it, or has not heard from a leader (being one: from a majority) for 2 s.
 * Answers within a second. Rejects NATS_SERVER_FAILED when the server runs and says nothing: then nobody knows.
 */
export function createLeaderView({ plan, advertise, server, stream }: SightOptions): () => Promise<LeaderView> {
  const self = plan.mode === 'cluster' ? serverName(advertise) : SINGLE_NAME
  return async () => {
    if (!plan.runsServer) return { server: false, leader: false }
    const group = await readGroup(server, stream)
    return { server: true, leader: group !== null && seesLeader(group, self) }
  }
}

/** Null: the server does not run, or has no replica of the stream. */
async function readGroup(server: Monitored, stream: string): Promise<Group | null> {
  try {
    const answer = await server.monitor('/jsz?streams=1', ANSWER_TIMEOUT_MS)
    if (answer === undefined) return null
    const details = jsz.parse(answer).account_details.flatMap((account) => account.stream_detail)
    const found = details.find(({ name }) => name === stream)
    // A server that is alone knows no groups: the stream is there, so it leads.
    return found === undefined ? null : (found.cluster ?? { leader: SINGLE_NAME, replicas: [] })
  } catch (cause) {
    const message = `This host's nats-server did not say whether the registry has a leader: ${(cause as Error).message}.`
    throw new WherryError('NATS_SERVER_FAILED', message, { hint: 'It is asked again by itself.', cause })
  }
}

/**
 * Whether a write could be committed with this server's help, as far as it knows. A follower's list has the leader, too. `active` is 0 for a member
 * that was never heard from in this server's time as what it is: a leader that took over from a dead one would otherwise count it as there.
 */
function seesLeader({ leader, replicas }: Group, self: string): boolean {
  const heard = replicas.filter(({ active }) => active > 0 && active < SILENT_MS * 1_000_000)
  if (leader !== self) return heard.some(({ name }) => name === leader)
  return 2 * (heard.length + 1) > replicas.length + 1
}
