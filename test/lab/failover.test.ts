import { setTimeout as sleep } from 'node:timers/promises'
import { splitBlackout } from '../../lab/blackout.ts'
import type { Host } from '../../lab/host.ts'
import type { Lab } from '../../lab/lab.ts'
import { type Acknowledged, Ledger } from '../../lab/ledger.ts'
import { until } from '../../lab/poll.ts'
import { Reaper } from '../../lab/reaper.ts'
import { agentOf, idle, type LabGround, onLab, shell, whenAgentReady } from './fixture.ts'
import {
  brokenLines,
  checkWhole,
  DB_SERVICE,
  DB_VOLUME,
  rowsAside,
  rowsOf,
  serverLog,
  startPostgres,
} from './postgres.ts'
import {
  copiedElsewhere,
  copyStateOf,
  endService,
  holderAfter,
  holderOf,
  nothingLost,
  removeLabVolume,
  removeWriter,
  runningWriters,
  startWitness,
  startWriter,
  stopWriter,
  VOLUME,
} from './witness.ts'

/** Docker's patience is 120 s; a test has less. */
const test = onLab({ swarm: true }, { WHERRY_MOUNT_DEADLINE: '30s' })

/** The registry's servers do not reach each other any more; hosts do. */
const ROUTES = ['-p', 'tcp', '--dport', '7452', '-j', 'DROP']
/** Between two looks at a container that may be about to start. */
const LOOK_AGAIN_MS = 700
/** Written after the newest checkpoint, so that the power cut costs something. */
const UNSAVED_MS = 2_000
const ENOUGH_ROWS = 200
const NATS_SERVER = /^\S*nats-server /
/** What the plugin says when it pauses for a lease. */
const FENCING = 'lease expired: pausing'
/** Longer than any lease and any wait for one. */
const AWAY_SECONDS = 40
/**
 * Enough for a server to join the others, too little for an election. Servers that come up for longer and never serve
 * let a lease run out (docs).
 */
const FLAP_MS = 500

test.serial(
  'promise 5: a host that loses its power under load: PostgreSQL is back elsewhere, and what is missing is younger than was said',
  async (t) => {
    t.timeout(400_000)
    const { lab, h1 } = t.context
    const old = await startPostgres(t.context)
    const createdMs = Date.now()
    await using ledger = new Ledger(lab, lab.hosts)
    const checkpointMs = await until(
      'a checkpoint with the table is elsewhere, and rows that are not in it were accepted',
      async () => {
        await using agent = agentOf(old)
        const { last } = await agent.get(DB_VOLUME)
        const atMs = last === null ? 0 : Date.parse(last.at)
        const ready = atMs > createdMs && Date.now() - atMs > UNSAVED_MS && ledger.acknowledged.size > ENOUGH_ROWS
        return ready && atMs
      },
      { timeoutMs: 90_000 },
    )
    const role = await swarmRole(old)
    const cutMs = Date.now()
    await old.powerCut()
    const first = await until('a row on another host', () => newerThan(cutMs, old, ledger), { timeoutMs: 120_000 })
    const next = lab.hosts.find(({ name }) => name === first.host) ?? old
    const more = ledger.acknowledged.size + ENOUGH_ROWS
    await until('more rows', () => ledger.acknowledged.size >= more)
    await ledger.stop()

    await using agent = agentOf(next)
    const { seizure } = await agent.get(DB_VOLUME)
    t.is(seizure?.from, old.name)
    const saidMs = (seizure?.ageSeconds ?? 0) * 1000
    const rows = await rowsOf(lab, next)
    const acknowledged = [...ledger.acknowledged.values()]
    const missing = acknowledged.filter(({ number }) => !rows.has(number))
    const move = { service: DB_SERVICE, volume: DB_VOLUME, to: next, cutMs, servedMs: first.atMs }
    const split = await until('Swarm tells of its tasks', () => splitBlackout(move))
    t.log(
      `blackout ${split.total} s: Swarm ${split.swarm} s until it placed the task, ` +
        `${split.engine} s until Docker asked for the volume, ` +
        `Wherry ${split.wherry} s, container ${split.container} s, PostgreSQL ${split.program} s (the host was Swarm's ${role})`,
    )
    const oldestMs = Math.max(0, ...missing.map(({ atMs }) => cutMs - atMs))
    const numbers = missing.map(({ number }) => number)
    t.log(
      `${acknowledged.length} rows acknowledged, ${missing.length} of them missing as announced ` +
        `(${Math.min(...numbers)} to ${Math.max(...numbers)}), ` +
        `the oldest acknowledged ${oldestMs} ms before the cut, the checkpoint ${cutMs - checkpointMs} ms, announced ${saidMs} ms`,
    )

    const youngerThan = (ms: number) => (row: Acknowledged) => row.host === old.name && row.atMs >= ms
    t.true(missing.every(youngerThan(cutMs - saidMs)), `${saidMs} ms were announced`)
    t.true(missing.every(youngerThan(checkpointMs)), 'all that the newest checkpoint has is there')
    const there = acknowledged.filter(({ number }) => rows.has(number))
    t.deepEqual(
      there.filter(({ number, host }) => rows.get(number) !== host),
      [],
    )
    t.true(there.some(({ host }) => host === old.name) && missing.length > 0)
    await t.notThrowsAsync(checkWhole(lab, next))
    const log = await serverLog(next)
    t.regex(log, /database system was not properly shut down; automatic recovery in progress/)
    t.deepEqual(brokenLines(log), [])

    await old.boot()
    await whenAgentReady(old, 3)
    await until(
      'the old host has a current copy again',
      async () => (await copyStateOf(next, DB_VOLUME, old)) === 'current',
      {
        timeoutMs: 120_000,
      },
    )
    await using back = agentOf(old)
    t.is((await back.get(DB_VOLUME)).diverged.length, 1, 'what only the old host had is kept')
    const aside = await rowsAside(t.context, old)
    const ofOld = acknowledged.filter(({ host }) => host === old.name)
    t.deepEqual(
      ofOld.filter(({ number }) => !aside.has(number)),
      [],
      'every row that the old host acknowledged is in what was put aside',
    )
    await endService(lab, h1, DB_SERVICE, DB_VOLUME)
    await removeLabVolume(h1, DB_VOLUME)
  },
)

test.serial(
  'promise 6: a holder that is cut off is paused before the other side starts, and never two run',
  async (t) => {
    t.timeout(300_000)
    const { lab } = t.context
    const heard = await startWitness(t, lab)
    const old = await startCopied(t.context, heard)
    const sampling = new AbortController()
    const both: string[] = []
    const samples = sample(lab, sampling.signal, (running) => {
      if (running.length > 1) both.push(running.join(' '))
    })
    await lab.link(old, 'down')
    const next = await holderAfter(lab, VOLUME, old)
    await until('lines from the new host', () => heard.some(({ host }) => host === next.name), { timeoutMs: 90_000 })
    t.deepEqual(await runningWriters(old), [], 'the old one is paused')
    await sleep(3_000)
    await lab.link(old, 'up')
    await until(
      'the old host has a current copy again',
      async () => (await copyStateOf(next, VOLUME, old)) === 'current',
      {
        timeoutMs: 120_000,
      },
    )
    sampling.abort()
    t.true((await samples) > 50, 'both sides were looked at all the time')
    t.deepEqual(both, [], 'never two unpaused')
    await removeWriter(t.context)
  },
)

test.serial('promise 6: a registry that is away for all hosts pauses nobody, and all goes on', async (t) => {
  t.timeout(200_000)
  const { lab } = t.context
  const heard = await startWitness(t, lab)
  const holder = await startCopied(t.context, heard)
  const logged = holder.engineLog().length
  for (const host of lab.hosts) await host.exec(['iptables', '-A', 'INPUT', ...ROUTES])
  try {
    for (let second = 0; second < 30; second++) {
      await sleep(1_000)
      t.true(await runsOn(holder), `second ${second}`)
    }
  } finally {
    for (const host of lab.hosts) await host.exec(['iptables', '-D', 'INPUT', ...ROUTES])
  }
  const backMs = Date.now()
  await Promise.all(lab.hosts.map((host) => whenAgentReady(host, lab.hosts.length)))
  t.log(`the registry is there again after ${Date.now() - backMs} ms`)
  const before = heard.length
  await until('lines go on', () => heard.length > before + 50)
  await sleep(15_000)
  t.false(holder.engineLog().slice(logged).includes(FENCING), 'nothing was paused by a fence')
  t.true(await runsOn(holder), 'it runs a while after')
  t.is((await holderOf(lab, VOLUME))?.name, holder.name, 'nothing moved')
  await removeWriter(t.context)
})

test.serial(
  'promise 6: two of three nats-servers are lost and come back: nothing is paused, nothing moves, nothing is lost',
  async (t) => {
    t.timeout(400_000)
    const { lab } = t.context
    const heard = await startWitness(t, lab)
    const holder = await startCopied(t.context, heard)
    const other = lab.hosts.find((host) => host !== holder) ?? holder
    await shell(other, t.context, 'quiet', 'echo kept >/data/file')
    await idle(other, 'quiet')
    const epoch = await epochOf(holder)
    const logged = holder.engineLog().length
    const startMs = Date.now()
    {
      await using reaper = new Reaper([holder, other], NATS_SERVER)
      let answered = false
      const answer = shell(other, t.context, 'quiet', 'cat /data/file', true).finally(() => {
        answered = true
      })
      for (let second = 0; second < AWAY_SECONDS || !answered; second++) {
        // First they are dead, then they come and go: for a moment there are two.
        if (second === AWAY_SECONDS / 2) reaper.letLive(FLAP_MS)
        await sleep(1_000)
        t.true(await runsOn(holder), `second ${second}`)
      }
      const { code, stdout, stderr } = await answer
      t.log(`${reaper.killed} killed; the idle volume: ${stderr.trim()}`)
      t.true(code !== 0 && stdout === '')
      t.regex(stderr, /registry did not answer/)
      t.true(reaper.killed > 6)
    }
    t.log(`away for ${Math.round((Date.now() - startMs) / 1000)} s`)
    await until('a new volume', async () => (await shell(other, t.context, 'fresh', 'ls /data', true)).code === 0, {
      timeoutMs: 120_000,
    })
    t.is((await shell(other, t.context, 'quiet', 'cat /data/file')).stdout, 'kept\n')
    const before = heard.length
    await until('lines go on', () => heard.length > before + 50)
    t.false(holder.engineLog().slice(logged).includes(FENCING), 'nothing was paused by a fence')
    t.is(await epochOf(holder), epoch, 'nothing moved')
    t.is((await holderOf(lab, VOLUME))?.name, holder.name)
    await stopWriter(t.context)
    await nothingLost(t, holder, heard)
    for (const volume of [VOLUME, 'quiet', 'fresh']) await removeLabVolume(lab.host(1), volume)
  },
)

/** Starts the writer; returns the host it runs on, once another host has a checkpoint of what it wrote. */
async function startCopied(ground: LabGround, heard: readonly Acknowledged[]): Promise<Host> {
  const holder = await startWriter(ground, heard)
  await copiedElsewhere(holder, VOLUME)
  return holder
}

async function epochOf(host: Host): Promise<number> {
  await using agent = agentOf(host)
  return (await agent.get(VOLUME)).epoch
}

/** What Swarm's managers think of the host: a leader that is lost costs an election more. */
async function swarmRole(host: Host): Promise<'leader' | 'manager' | 'worker'> {
  const { stdout } = await host.docker(['node', 'ls', '--format', '{{.Hostname}} {{.ManagerStatus}}'])
  const status = stdout.split('\n').find((line) => line.startsWith(`${host.name} `))
  return status?.endsWith(' Leader') ? 'leader' : status?.endsWith(' Reachable') ? 'manager' : 'worker'
}

/** The first row that another host than `old` acknowledged after `sinceMs`. */
function newerThan(sinceMs: number, old: Host, ledger: Ledger): Acknowledged | undefined {
  return ledger.acknowledged.values().find(({ host, atMs }) => host !== old.name && atMs > sinceMs)
}

/** Whether the service's container runs, or will in a moment. */
async function runsOn(host: Host): Promise<boolean> {
  for (let look = 0; look < 3; look++) {
    if ((await runningWriters(host)).length === 1) return true
    await sleep(LOOK_AGAIN_MS)
  }
  return false
}

/** Looks at all hosts about every 100 ms; returns how often it did. */
async function sample(lab: Lab, signal: AbortSignal, look: (running: string[]) => void): Promise<number> {
  let looks = 0
  while (!signal.aborted) {
    look((await Promise.all(lab.hosts.map(runningWriters))).flat())
    looks++
    await sleep(50)
  }
  return looks
}
