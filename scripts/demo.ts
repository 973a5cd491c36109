import { parseArgs } from 'node:util'
import { createAgentClient } from '../agent/api/client.ts'
import { mountCalls } from '../lab/blackout.ts'
import { LabGuard } from '../lab/guard.ts'
import type { Host } from '../lab/host.ts'
import { postgres } from '../lab/images.ts'
import { Lab } from '../lab/lab.ts'
import { Ledger, query } from '../lab/ledger.ts'
import { until } from '../lab/poll.ts'
import { readRecord } from '../lab/record.ts'

const VOLUME = 'pgdata'
const SERVICE = 'db'
/** Rows the writer gets in between two moves, so that each move has something to lose. */
const ROWS_BETWEEN_MOVES = 200
const MOVE_TIMEOUT_MS = 180_000

interface Move {
  readonly from: string
  readonly to: string
  /** File content that crossed the network for this move, what was sent ahead included. */
  readonly bytesMoved: number
  /** From the old container's stop to the new one's first accepted query. */
  readonly blackoutSeconds: number
  /** The part of it that Docker's Mount call waited for Wherry. */
  readonly mountSeconds: number
  readonly rowsBefore: number
  readonly rowsAfter: number
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: { down: { type: 'boolean' }, keep: { type: 'boolean' }, 'data-mb': { type: 'string', default: '100' } },
  })
  if (values.down === true) return await takeKeptLabDown()
  const dataMegabytes = Number(values['data-mb'])
  if (!Number.isInteger(dataMegabytes) || dataMegabytes < 0) throw new Error('--data-mb wants a whole number')

  await using stack = new AsyncDisposableStack()
  say('Starting three Docker hosts and joining them into a Swarm ...')
  const lab = stack.use(await Lab.start({ swarm: true, log: say }))
  say(`Docker ${lab.engine.version}. Building the plugin and installing it on each host ...`)
  await lab.installPlugin()
  const image = await lab.image(postgres)
  await Promise.all(lab.hosts.map((host) => host.docker(['pull', '--quiet', image])))

  say('Starting a PostgreSQL service with a Wherry volume ...')
  const mount = `type=volume,source=${VOLUME},destination=/var/lib/postgresql/data,volume-driver=wherry`
  const options = ['--name', SERVICE, '--network', 'host', '--mount', mount, '--detach']
  await lab.host(1).docker(['service', 'create', ...options, image])
  let host = await servingHost(lab, null)
  say(`PostgreSQL runs on ${host.name}. Filling it with ${dataMegabytes} MB ...`)
  await fill(lab, host, dataMegabytes)

  const ledger = stack.use(new Ledger(lab, lab.hosts))
  await until('the first rows', () => ledger.acknowledged.size >= ROWS_BETWEEN_MOVES)
  const moves: Move[] = []
  for (let turn = 0; turn < 2; turn++) {
    const move = await drain(lab, host, ledger)
    moves.push(move)
    show(move)
    host = lab.hosts.find(({ name }) => name === move.to) ?? host
    const rows = ledger.acknowledged.size
    await until('rows on the new host', () => ledger.acknowledged.size >= rows + ROWS_BETWEEN_MOVES)
  }
  await ledger.stop()
  const found = new Set((await query(lab, host, 'select n from ledger')).split('\n').map(Number))
  const missing = [...ledger.acknowledged.keys()].filter((n) => !found.has(n)).length

  if (values.keep === true) {
    await lab.keep()
    stack.move()
    say(howToUse(lab))
  }
  const figures = {
    engine: lab.engine.version,
    dataMegabytes,
    moves,
    rowsAcknowledged: ledger.acknowledged.size,
    rowsMissing: missing,
  }
  process.stdout.write(`${JSON.stringify(figures)}\n`)
  return missing === 0 ? 0 : 1
}

/** Takes down the lab that an earlier start has kept. One that is in use ends first. */
async function takeKeptLabDown(): Promise<number> {
  const kept = readRecord()
  const guard = await LabGuard.start(say)
  await guard.takeDown()
  say(kept === null ? 'There is no lab on this machine.' : `The lab in ${kept.directory} is taken down.`)
  return 0
}

async function fill(lab: Lab, host: Host, megabytes: number): Promise<void> {
  await query(lab, host, 'create table ledger (n bigint primary key, host text)')
  // 1,000 bytes of text that does not compress, about 1,040 on disk.
  const text = "(select string_agg(md5(random()::text || k), '') from generate_series(1, 31 + i * 0) k)"
  await query(lab, host, `create table bulk as select i, ${text} as t from generate_series(1, ${megabytes * 1000}) i`)
  await query(lab, host, 'checkpoint')
}

/** Drains the node the service runs on and follows it to the next one. */
async function drain(lab: Lab, from: Host, ledger: Ledger): Promise<Move> {
  const startedMs = Date.now()
  const rowsBefore = ledger.acknowledged.size
  const manager = lab.hosts.find((host) => host !== from) ?? from
  const { stdout: container } = await from.docker(['ps', '-q', '--filter', `name=${SERVICE}`])
  say(`Draining ${from.name} ...`)
  await manager.docker(['node', 'update', '--availability', 'drain', from.name])
  const to = await servingHost(lab, from)
  const acceptedMs = Date.now()
  const rowsAfter = Number(await query(lab, to, 'select count(*) from ledger'))
  const { stdout: stopped } = await from.docker(['inspect', '-f', '{{.State.FinishedAt}}', container.trim()])
  await manager.docker(['node', 'update', '--availability', 'active', from.name])
  return {
    from: from.name,
    to: to.name,
    bytesMoved: await bytesMoved(to, startedMs),
    blackoutSeconds: seconds(acceptedMs - Date.parse(stopped.trim())),
    mountSeconds: seconds(mountWaitMs(to, Date.parse(stopped.trim()))),
    rowsBefore,
    rowsAfter,
  }
}

/** The host whose PostgreSQL answers, other than `not`. */
async function servingHost(lab: Lab, not: Host | null): Promise<Host> {
  const candidates = lab.hosts.filter((host) => host !== not)
  return until(
    'PostgreSQL answers',
    async () => {
      const answers = await Promise.all(
        candidates.map((host) =>
          query(lab, host, 'select 1').then(
            () => host,
            () => null,
          ),
        ),
      )
      return answers.find((host) => host !== null)
    },
    { timeoutMs: MOVE_TIMEOUT_MS, everyMs: 20 },
  )
}

async function bytesMoved(to: Host, sinceMs: number): Promise<number> {
  await using agent = createAgentClient(`${to.stateSeen}/agent.sock`)
  const moves = await agent.moves(AbortSignal.timeout(10_000))
  return moves
    .filter((move) => move.volume === VOLUME && Date.parse(move.startedAt) >= sinceMs)
    .reduce((sum, move) => sum + move.bytesDone, 0)
}

/** How long Mount calls that ended after `sinceMs` had waited since then, by the agent's log lines. */
function mountWaitMs(host: Host, sinceMs: number): number {
  let waitMs = 0
  for (const { askedMs, answeredMs } of mountCalls(host, VOLUME)) {
    if (answeredMs > sinceMs) waitMs += answeredMs - Math.max(sinceMs, askedMs)
  }
  return waitMs
}

function seconds(ms: number): number {
  return Math.round(ms) / 1000
}

function show(move: Move): void {
  const megabytes = (move.bytesMoved / 1e6).toFixed(1)
  say(
    `  ${move.from} -> ${move.to}: ${megabytes} MB moved, ${move.blackoutSeconds} s without an answer ` +
      `(${move.mountSeconds} s of them Docker waited for the volume), rows before ${move.rowsBefore}, after ` +
      `${move.rowsAfter}`,
  )
}

function howToUse(lab: Lab): string {
  const lines = lab.hosts.map((host) => `  docker -H unix://${host.socket} ps        # ${host.name}, ${host.address}`)
  return [
    'Everything still runs. Talk to the hosts with:',
    ...lines,
    'and with Wherry on one of them, for example:',
    `  DOCKER_HOST=unix://${lab.hosts[0]?.socket} scripts/wherry ls`,
    ...lab.hosts.map((host) => `State directory of ${host.name}: ${host.stateSeen}`),
    'scripts/demo --down takes it down, and so does the next start of the demo or the tests.',
  ].join('\n')
}

function say(line: string): void {
  process.stderr.write(`${line}\n`)
}

process.exitCode = await main()
