import { z } from 'zod'
import { WherryError } from '../model/errors.ts'
import type { LeaderView } from './contract.ts'
import type { NatsPlan } from './plan.ts'
import { SINGLE_NAME, serverName } from './server-config.ts'

/** The monitoring port replies from memory, in milliseconds. Callers ask again a second later. */
const ANSWER_TIMEOUT_MS = 900

/**
 * A healthy group exchanges messages at least every second in both directions (hbInterval in nats-server's raft.go).
 * On three idle servers 2.15.1, `active` never passed 1.0 s on either side.
 * Without an own limit, a leader that lost its followers calls itself leader for 10 to 20 s more (lostQuorumInterval,
 * lostQuorumCheck), and a follower names a dead leader for 4 to 9 s (its election timeout): longer than a lease.
 */
const SILENT_MS = 2_000

/** What `/jsz?streams=1` reports of the streams of which this server has a replica, and of no others. */
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
                  /** Undefined: none is known. */
                  leader: z.string().default(''),
                  /**
                   * The other members of the group; undefined: there are none. `active`: nanoseconds since the last
                   * message.
                   */
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
   * JetStream's name of the stream to which leases are written.
   * Other streams prove nothing: after an outage each one elects its own leader, and a leader of another stream does
   * not
   * help to renew or expire a lease.
   */
  readonly stream: string
}

/**
 * Returns a function that asks what this host's own registry server knows now.
 * `leader` is false only when the `stream` cannot be written with this server's help: it does not run, has no
 * replica, or
 * has not heard from a leader for 2 s (a leader: from a majority).
 * Returns within a second. Rejects NATS_SERVER_FAILED when the server runs and does not reply: the state is unknown.
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
    // A single server has no groups: the stream exists, so it leads.
    return found === undefined ? null : (found.cluster ?? { leader: SINGLE_NAME, replicas: [] })
  } catch (cause) {
    const message = `This host's nats-server did not say whether the registry has a leader: ${(cause as Error).message}.`
    throw new WherryError('NATS_SERVER_FAILED', message, { hint: 'It is asked again by itself.', cause })
  }
}

/**
 * Tells whether a write could be committed with this server's help, as far as it knows.
 * A follower's list has the leader, too. `active` is 0 for a member that this server has never heard from in its
 * role:
 * a leader that took over from a dead one would otherwise count it as present.
 */
function seesLeader({ leader, replicas }: Group, self: string): boolean {
  const heard = replicas.filter(({ active }) => active > 0 && active < SILENT_MS * 1_000_000)
  if (leader !== self) return heard.some(({ name }) => name === leader)
  return 2 * (heard.length + 1) > replicas.length + 1
}
