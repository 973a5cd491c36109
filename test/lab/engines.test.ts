import { setTimeout as sleep } from 'node:timers/promises'
import type { ExecutionContext } from 'ava'
import type { Host } from '../../lab/host.ts'
import { databases } from '../../lab/images.ts'
import type { Acknowledged } from '../../lab/ledger.ts'
import { until } from '../../lab/poll.ts'
import { checker, DATABASES, type LabDatabase, writer } from './databases.ts'
import { agentOf, type LabGround, onLab, whenAgentReady } from './fixture.ts'
import { copiedElsewhere, startWitness } from './witness.ts'

const test = onLab({}, {})

/** One in the tests; the proof in docs/databases.md is of five. */
const ROUNDS = Number(process.env.LAB_ROUNDS ?? 1)
const ENOUGH_ROWS = 150
/** Checkpoints come every few seconds: the cut is to meet none of them in particular. */
const LOAD_MS = 8_000
const ROUND_TIMEOUT_MS = 300_000

for (let round = 1; round <= ROUNDS; round++) {
  test.serial(
    `promise 5: MariaDB, Redis, SQLite and etcd under load lose their host and are whole on another, round ${round}`,
    async (t) => {
      t.timeout(ROUND_TIMEOUT_MS)
      const { lab } = t.context
      const [old, next] = [lab.host(1 + (round % 3)), lab.host(1 + ((round + 1) % 3))]
      const image = await lab.image(databases)
      await Promise.all([old, next].map((host) => host.docker(['pull', '--quiet', image])))
      const heard = await startWitness(t, lab)
      const volumeOf = ({ name }: LabDatabase) => `${name}${round}`
      const run = (host: Host, how: string, database: LabDatabase, command: string, allowFailure: boolean) => {
        const mount = ['--network', 'host', '-v', `${volumeOf(database)}:/data`, '--volume-driver', 'wherry']
        return host.docker(['run', how, ...mount, image, 'sh', '-c', command], { allowFailure })
      }
      await Promise.all(DATABASES.map((database) => run(old, '--detach', database, writer(database), false)))
      const rowsOf = ({ name }: LabDatabase) => heard.filter(({ host }) => host === name)
      await until('all databases have rows', () => DATABASES.every((one) => rowsOf(one).length > ENOUGH_ROWS), {
        timeoutMs: 120_000,
      })
      await Promise.all(DATABASES.map((one) => copiedElsewhere(old, volumeOf(one))))
      await sleep(LOAD_MS)
      const cutMs = Date.now()
      await old.powerCut()

      const checks = DATABASES.map(async (database) => {
        const { code, stdout, stderr } = await run(next, '--rm', database, checker(database), true)
        await checkRows(t, database, { round, next, cutMs, log: `${stdout}\n${stderr}` }, rowsOf(database))
        t.is(code, 0, `${database.name}: ${stdout.slice(-1000)} ${stderr.slice(-1000)}`)
      })
      await Promise.all(checks)
      if (round === ROUNDS) return
      await old.boot()
      await Promise.all(lab.hosts.map((host) => whenAgentReady(host, lab.hosts.length)))
    },
  )
}

interface After {
  readonly round: number
  readonly next: Host
  readonly cutMs: number
  /** What the engine and its checks have printed. */
  readonly log: string
}

/**
 * The rows are an unbroken beginning of what was written; what was acknowledged and is missing is no older than was
 * said.
 */
async function checkRows(
  t: ExecutionContext<LabGround>,
  { name, recovered, broken }: LabDatabase,
  { round, next, cutMs, log }: After,
  acknowledged: readonly Acknowledged[],
): Promise<void> {
  const rows = [...log.matchAll(/^row (\d+)$/gm)].map(([, number]) => Number(number))
  await using agent = agentOf(next)
  const { seizure } = await agent.get(`${name}${round}`)
  const saidMs = (seizure?.ageSeconds ?? 0) * 1000
  const missing = acknowledged.filter(({ number }) => number > rows.length)
  const oldestMs = Math.max(0, ...missing.map(({ atMs }) => cutMs - atMs))
  t.log(
    `${name}: ${acknowledged.length} rows acknowledged, ${missing.length} of them missing, the oldest acknowledged ` +
      `${oldestMs} ms before the cut, announced ${saidMs} ms`,
  )
  t.regex(log, /^checked$/m, `${name}'s own check`)
  t.regex(log, recovered, `${name} went on from what the cut had left`)
  t.deepEqual(
    log.split('\n').filter((line) => broken.test(line)),
    [],
  )
  t.true(rows.length > 0, `${name} has rows`)
  t.deepEqual(
    rows,
    rows.map((_, nth) => nth + 1),
    `${name} has an unbroken beginning`,
  )
  t.true(
    missing.every(({ atMs }) => atMs >= cutMs - saidMs),
    `${name}: ${saidMs} ms were announced`,
  )
}
