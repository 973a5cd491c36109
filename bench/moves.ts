import type { Host } from '../lab/host.ts'
import type { Lab } from '../lab/lab.ts'
import { type Ledger, query } from '../lab/ledger.ts'
import { until } from '../lab/poll.ts'
import { changeSwarm } from '../lab/swarm.ts'
import { volumeAt } from './agent.ts'
import { agentLines } from './agent-log.ts'
import { returnToService } from './power.ts'
import type { Service } from './service.ts'

const MOVE_TIMEOUT_MS = 300_000
/** Rows that a move can lose, or not. */
const ROWS_BEFORE = 100

export interface MoveGround {
  readonly lab: Lab
  /** Takes no tasks. */
  readonly manager: Host
  readonly service: Service
  readonly ledger: Ledger
}

/**
 * One move of the service, in seconds. The parts, in their order, add up to the blackout as it is seen from outside.
 */
export interface Move {
  readonly blackoutSeconds: number
  readonly parts: Readonly<Record<string, number>>
}

export interface PowerCut extends Move {
  /** How old the checkpoint was that Wherry went on from, as it says. */
  readonly ageSeconds: number
  /** Rows that had been acknowledged and are not there. */
  readonly rowsLost: number
  /** From the old host's start until it had a copy at the newest checkpoint again. */
  readonly returnSeconds: number
}

/** Drains the node that the service runs on; it is available again on return. */
export async function drain(ground: MoveGround, from: Host): Promise<Move> {
  const { manager, service, ledger } = ground
  const to = service.other(from)
  const container = await service.container(from)
  await rowsComeIn(ledger)
  const startMs = Date.now()
  await changeSwarm(manager, ['node', 'update', '--availability', 'drain', from.name])
  const acceptedMs = await firstRow(ledger, to, startMs)
  const { stdout } = await from.docker(['inspect', '-f', '{{.State.FinishedAt}}', container])
  const stoppedMs = Date.parse(stdout.trim())
  await changeSwarm(manager, ['node', 'update', '--availability', 'active', from.name])
  const silentMs = lastRow(ledger, from)
  const mount = mountOf(to, service.name, startMs)
  // Docker may ask for the volume before the old container has stopped: that part is no wait of Wherry's.
  const mountMs = mount.endMs - Math.max(stoppedMs, mount.beginMs)
  return move(silentMs, acceptedMs, { stop: stoppedMs - silentMs, mount: mountMs })
}

/** Cuts the power of the host that the service runs on, and brings it back. */
export async function cutPower(ground: MoveGround, from: Host): Promise<PowerCut> {
  const { service, ledger } = ground
  const to = service.other(from)
  await rowsComeIn(ledger)
  const missingBefore = (await missing(ground, from)).length
  const cutMs = Date.now()
  await from.powerCut()
  const acceptedMs = await firstRow(ledger, to, cutMs)
  const placedMs = await service.placedMs()
  const mount = mountOf(to, service.name, cutMs)
  const parts = { notice: placedMs - cutMs, ask: mount.beginMs - placedMs, mount: mount.endMs - mount.beginMs }
  const rowsLost = (await missing(ground, to)).length - missingBefore
  const { seizure } = await volumeAt(to, service.name)
  const returnSeconds = await returnToService(ground, from)
  return { ...move(cutMs, acceptedMs, parts), ageSeconds: seizure?.ageSeconds ?? Number.NaN, rowsLost, returnSeconds }
}

/** What is left is the container's start and the database's. */
function move(silentMs: number, acceptedMs: number, partsMs: Readonly<Record<string, number>>): Move {
  const blackoutMs = acceptedMs - silentMs
  const known = Object.values(partsMs).reduce((sum, ms) => sum + ms, 0)
  const all = Object.entries({ ...partsMs, start: blackoutMs - known }).map(([name, ms]) => [name, ms / 1000])
  return { blackoutSeconds: blackoutMs / 1000, parts: Object.fromEntries(all) as Record<string, number> }
}

/** The Mount call that was answered last, by the agent's log. */
function mountOf(host: Host, volume: string, sinceMs: number): { beginMs: number; endMs: number } {
  const line = agentLines(host, 'mounted', sinceMs).findLast((mounted) => mounted.volume === volume)
  if (line === undefined) throw new Error(`${host.name}: no Mount of ${volume} was answered`)
  return { beginMs: line.time - Number(line.waitMs), endMs: line.time }
}

async function rowsComeIn({ acknowledged }: Ledger): Promise<void> {
  const before = acknowledged.size
  await until('rows', () => acknowledged.size >= before + ROWS_BEFORE)
}

/** When the first row after `sinceMs` was acknowledged by a host. */
function firstRow({ acknowledged }: Ledger, by: Host, sinceMs: number): Promise<number> {
  const first = () => acknowledged.values().find(({ host, atMs }) => host === by.name && atMs > sinceMs)?.atMs
  return until(`a row on ${by.name}`, first, { timeoutMs: MOVE_TIMEOUT_MS })
}

function lastRow({ acknowledged }: Ledger, by: Host): number {
  const last = [...acknowledged.values()].findLast(({ host }) => host === by.name)
  if (last === undefined) throw new Error(`${by.name} acknowledged no row`)
  return last.atMs
}

/** Acknowledged rows that the database does not have. */
async function missing({ lab, ledger }: MoveGround, host: Host): Promise<number[]> {
  const acknowledged = [...ledger.acknowledged.keys()]
  const found = new Set((await query(lab, host, 'select n from ledger')).split('\n').map(Number))
  return acknowledged.filter((n) => !found.has(n))
}
