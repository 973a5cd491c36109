import { z } from 'zod'
import { WherryError } from '../model/errors.ts'
import type { LeaderView } from './contract.ts'
import type { NatsPlan } from './plan.ts'
import { SINGLE_NAME, serverName } from './server-config.ts'

/** The monitoring port replies from memory, in milliseconds. Callers repeat the request a second later. */
const REPLY_TIMEOUT_MS = 900

/**
 * A member not heard from for this long counts as gone.
 * Leader and followers exchange messages every second at least (hbInterval in nats-server's raft.go). On three idle
 * servers 2.15.1 `active` never passed 1.0 s on either side.
 * Without this limit a leader that lost its followers calls itself leader for 10 to 20 s more (lostQuorumInterval,
 * lostQuorumCheck), and a follower names a dead leader for 4 to 9 s (its election timeout). A lease is shorter.
 */
const SILENT_MS = 2_000

/** The reply to `/jsz?streams=1`. It lists only streams of which this server has a replica. */
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
                  /** Missing: none is known. */
                  leader: z.string().default(''),
                  /** The group's other members; missing: none. `active`: nanoseconds since it was heard from. */
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

/** This host's server. */
export interface Monitored {
  monitor(path: string, timeoutMs: number): Promise<unknown>
}

export interface LeaderViewOptions {
  readonly plan: NatsPlan
  /** This host's address in the plan. */
  readonly advertise: string
  readonly server: Monitored
  /**
   * JetStream's name of the stream with the leases. Other streams do not count: after an outage each has its own
   * election, and the leader of another one can neither renew nor expire a lease.
   */
  readonly stream: string
}

/**
 * Creates the function that asks this host's own nats-server whether the registry has a leader now.
 * `leader` is false only if the server cannot help to write to `stream`: it does not run, has no replica of the stream,
 * or has not heard from a leader for 2 s (as leader: from a majority).
 * Returns within a second. NATS_SERVER_FAILED: the server runs and does not reply, so the state is unknown.
 */
export function createLeaderView({ plan, advertise, server, stream }: LeaderViewOptions): () => Promise<LeaderView> {
  const self = plan.mode === 'cluster' ? serverName(advertise) : SINGLE_NAME
  return async () => {
    if (!plan.runsServer) return { server: false, leader: false }
    const group = await readGroup(server, stream)
    return { server: true, leader: group !== null && seesLeader(group, self) }
  }
}

/** Reads the stream's Raft group; null: the server does not run, or has no replica of the stream. */
async function readGroup(server: Monitored, stream: string): Promise<Group | null> {
  try {
    const reply = await server.monitor('/jsz?streams=1', REPLY_TIMEOUT_MS)
    if (reply === undefined) return null
    const details = jsz.parse(reply).account_details.flatMap((account) => account.stream_detail)
    const found = details.find(({ name }) => name === stream)
    // A standalone server knows no groups: the stream exists, so it leads.
    return found === undefined ? null : (found.cluster ?? { leader: SINGLE_NAME, replicas: [] })
  } catch (cause) {
    const message = "This host's nats-server did not say whether the registry has a leader"
    const reason = (cause as Error).message
    throw new WherryError('NATS_SERVER_FAILED', `${message}: ${reason}.`, { hint: 'Wherry asks again.', cause })
  }
}

/**
 * Tells whether a write could be committed with this server's help, as far as it knows.
 * A follower's list has the leader, too. `active` is 0 for a member that this server has not heard from in its present
 * role: a new leader must not count the dead one before it.
 */
function seesLeader({ leader, replicas }: Group, self: string): boolean {
  const heard = replicas.filter(({ active }) => active > 0 && active < SILENT_MS * 1_000_000)
  if (leader !== self) return heard.some(({ name }) => name === leader)
  return 2 * (heard.length + 1) > replicas.length + 1
}
