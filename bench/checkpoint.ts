import { setTimeout as sleep } from 'node:timers/promises'
import type { CheckpointView } from '../agent/mobility/volume-view.ts'
import type { Host } from '../lab/host.ts'
import { postgres } from '../lab/images.ts'
import { Lab } from '../lab/lab.ts'
import { until } from '../lab/poll.ts'
import { volumeAt } from './agent.ts'
import { agentLines } from './agent-log.ts'
import { type CheckpointTurns, checkpointReport, type Load, type Turn } from './checkpoint-report.ts'
import { agentCpuSeconds } from './cpu.ts'
import { Database } from './database.ts'
import type { LabReport, LabSettings } from './lab-report.ts'

/** What the bench `checkpoint` runs: about 450 MB of tables, as the copy case `postgres` has. */
const CHECKPOINT_LOAD: Load = { pgbenchScale: 30, checkpointSeconds: 10 }
/** Long enough for six checkpoints, 10 s apart. */
const TURN_SECONDS = 60
const MIN_TURN_SECONDS = 12
const SAMPLE_MS = 500
/** The first checkpoint copies everything to another host. */
const REST_TIMEOUT_MS = 180_000

export async function benchCheckpoint(settings: LabSettings): Promise<LabReport> {
  return checkpointReport(CHECKPOINT_LOAD, await measureCheckpoints(CHECKPOINT_LOAD, settings))
}

/**
 * What checkpoints cost a PostgreSQL that works as fast as it can. Two equal databases on one host, one with
 * checkpoints and one without, take turns. pgbench, all hosts and with them the receiving copy share this machine's
 * cores and its disk.
 */
export async function measureCheckpoints(load: Load, { rounds, scale, say }: LabSettings): Promise<CheckpointTurns> {
  await using lab = await Lab.start({ log: say })
  await lab.installPlugin({ settings: { WHERRY_LOG: 'debug' } })
  const image = await lab.image(postgres)
  const begin = async (volume: string, port: number, checkpoint: string) => {
    const options = { volume, port, image, volumeOptions: [`checkpoint=${checkpoint}`] }
    const database = await Database.start(lab, lab.host(1), options)
    await database.fill(Math.max(1, Math.round(load.pgbenchScale * scale)))
    return database
  }
  const on = await begin('on', 5432, `${load.checkpointSeconds}s`)
  const off = await begin('off', 5433, 'off')
  const seconds = Math.max(MIN_TURN_SECONDS, Math.round(TURN_SECONDS * scale))
  say('warming up')
  for (const database of [on, off]) await database.work(seconds / 2)
  const turns = new Map<Database, Turn[]>([
    [on, []],
    [off, []],
  ])
  for (let round = 1; round <= rounds; round++) {
    // Who is first changes: what grows or slows down with time touches both alike.
    for (const database of round % 2 === 1 ? [on, off] : [off, on]) {
      await comeToRest([on, off])
      const turn = await play(lab, database, seconds)
      turns.get(database)?.push(turn)
      say(`  round ${round}, checkpoints ${database.volume}: ${turn.tps.toFixed(0)} tps`)
    }
  }
  return { on: turns.get(on) ?? [], off: turns.get(off) ?? [] }
}

/** Both servers have written out what they had in memory, and another host has it: no turn leaves work to the next. */
async function comeToRest(databases: readonly Database[]): Promise<void> {
  for (const database of databases) await database.psql('checkpoint')
  const sinceMs = Date.now()
  const isElsewhere = ({ state, ageSeconds }: CheckpointView) =>
    state === 'off' || (state !== 'running' && ageSeconds !== null && Date.now() - ageSeconds * 1000 > sinceMs)
  await until(
    'a checkpoint of what was written',
    async () => {
      const views = await Promise.all(databases.map(({ host, volume }) => checkpointing(host, volume)))
      return views.every(isElsewhere)
    },
    { timeoutMs: REST_TIMEOUT_MS, everyMs: SAMPLE_MS },
  )
}

async function play(lab: Lab, database: Database, seconds: number): Promise<Turn> {
  const { host, volume } = database
  const startMs = Date.now()
  const cpuBefore = cpuSeconds(lab, host)
  const ended = new AbortController()
  const sampling = sample(host, volume, ended.signal)
  const tps = await database.work(seconds).finally(() => ended.abort())
  const cpuAfter = cpuSeconds(lab, host)
  const views = await sampling
  const taken = agentLines(host, 'checkpoint taken', startMs).filter((line) => line.volume === volume)
  const failed = agentLines(host, 'checkpoint failed: retrying', startMs)
  return {
    tps,
    cpuShare: {
      holder: (cpuAfter.holder - cpuBefore.holder) / seconds,
      others: (cpuAfter.others - cpuBefore.others) / seconds,
    },
    pausesMs: taken.map(({ pauseMs }) => Number(pauseMs)),
    agesSeconds: views.flatMap(({ ageSeconds }) => (ageSeconds === null ? [] : [ageSeconds])),
    intervalSeconds: Math.max(...views.map(({ intervalMs }) => intervalMs)) / 1000,
    gapsSeconds: taken.slice(1).map(({ time }, index) => (time - (taken[index]?.time ?? time)) / 1000),
    scanned: [...new Set(views.flatMap(({ scanned }) => (scanned === null ? [] : [scanned])))],
    failures: failed.map(({ err }) => (err as { message?: string } | undefined)?.message ?? 'unknown'),
  }
}

/** How the checkpoints go, every half second until `signal` aborts. */
async function sample(host: Host, volume: string, signal: AbortSignal): Promise<CheckpointView[]> {
  const views: CheckpointView[] = []
  while (!signal.aborted) {
    views.push(await checkpointing(host, volume))
    await sleep(SAMPLE_MS, null, { signal }).catch(() => undefined)
  }
  return views
}

async function checkpointing(host: Host, volume: string): Promise<CheckpointView> {
  const { checkpointing: view } = await volumeAt(host, volume)
  if (view === null) throw new Error(`${host.name} does not hold volume ${volume}`)
  return view
}

function cpuSeconds(lab: Lab, holder: Host) {
  const others = lab.hosts.filter((host) => host !== holder).map(agentCpuSeconds)
  return { holder: agentCpuSeconds(holder), others: others.reduce((sum, seconds) => sum + seconds, 0) }
}
