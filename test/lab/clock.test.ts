import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { ExecutionContext } from 'ava'
import { run } from '../../lab/command.ts'
import type { Host } from '../../lab/host.ts'
import { PLUGIN_PROCESSES } from '../../lab/plugin-processes.ts'
import { until } from '../../lab/poll.ts'
import { buildSteppedPlugin, stepClock } from '../../lab/stepped-clock.ts'
import { agentOf, idle, inspect, type LabGround, onLab, shell, treeOf, whenAgentReady } from './fixture.ts'
import { copyOf, currentOn, endPulse, longestGap, pulsesOn, startPulse, uptimeNow } from './pulse.ts'

const test = onLab({}, {}, buildSteppedPlugin)

const HOUR_SECONDS = 3_600
const WHERRY = fileURLToPath(new URL('../../cli/wherry.ts', import.meta.url))
/** What plugin and agents log when a lease ends, for whatever reason. */
const LEASE_ENDED = /lease expired|lease given up|lease was ended|lease of a silent host ended/
/** The pause budget, and what a slow machine adds. A fence lasts until its cause is gone. */
const LONGEST_PAUSE_SECONDS = 6
/** A checkpoint every 2 s, and as many as show that they go on. */
const CHECKPOINTS = 3
const PATIENT = { timeoutMs: 120_000 }
/** Lines are written ten times a second. */
const LINE_SECONDS = 1.5

test.serial(
  "promise 6: the clock of a volume's holder is stepped: no lease ends, nothing is paused or moved, its copies stay current",
  async (t) => {
    t.timeout(300_000)
    const { h1 } = t.context
    await create(h1, 'data')
    await startPulse(h1, t.context, 'data')
    await until('a copy', async () => (await currentOn(h1, 'data')).length === 2)
    await using agent = agentOf(h1)
    const { epoch } = await agent.get('data')
    for (const hours of [1, -1, 0]) {
      await step(h1, hours)
      await checkpointsGoOn(t, hours)
    }
    t.is((await agent.get('data')).epoch, epoch, 'held without a break')
    const gap = longestGap(await pulsesOn(h1, 'data'))
    t.true(gap < LONGEST_PAUSE_SECONDS, `the container stood still for ${gap} s`)
    for (const host of t.context.lab.hosts) t.notRegex(host.engineLog(), LEASE_ENDED, 'no lease ended')
  },
)

test.serial(
  'promise 3: a volume that is moved away from a host whose clock is wrong, and back, loses nothing',
  async (t) => {
    t.timeout(400_000)
    const { h1, h2 } = t.context
    for (const hours of [1, -1]) {
      await step(h1, hours)
      // An agent that starts now checks its certificates by this clock, and so does whoever it talks to.
      await restartAgent(h1)
      await checkpointsGoOn(t, hours)
      await endPulse(h1, 'data')
      await idle(h1, 'data')
      const written = await readFile(`${await treeOf(h1, 'data')}/pulse`, 'utf8')
      t.is((await shell(h2, t.context, 'data', 'cat /data/pulse; echo away >>/data/moves')).stdout, written)
      await idle(h2, 'data')
      await startPulse(h1, t.context, 'data')
      const moves = await readFile(`${await treeOf(h1, 'data')}/moves`, 'utf8')
      t.is(moves, 'away\n'.repeat(hours === 1 ? 1 : 2))
      t.true((await readFile(`${await treeOf(h1, 'data')}/pulse`, 'utf8')).startsWith(written))
    }
  },
)

for (const hours of [1, -1]) {
  test.serial(
    `promise 5: the power of a holder whose clock is ${hours} h off is cut: what is missing is said as if it were not`,
    async (t) => {
      t.timeout(400_000)
      const { lab, h1 } = t.context
      const volume = `lost${hours}`
      await create(h1, volume)
      await step(h1, hours)
      await startPulse(h1, t.context, volume)
      const second = await until(
        'a copy',
        async () => (await currentOn(h1, volume)).find((name) => name !== 'h1'),
        PATIENT,
      )
      const next = lab.hosts.find(({ name }) => name === second) ?? h1
      await h1.powerCut()
      const cutAt = uptimeNow()
      await until(
        'it is taken over',
        async () => (await shell(next, t.context, volume, 'true', true)).code === 0,
        PATIENT,
      )
      const missing = cutAt - ((await pulsesOn(next, volume)).at(-1) ?? 0)
      await using agent = agentOf(next)
      const { seizure } = await agent.get(volume)
      const said = seizure?.ageSeconds ?? Number.NaN
      t.log(`${missing.toFixed(1)} s are missing, ${said} s were said`)
      t.true(missing < said + LINE_SECONDS)
      t.true(said < HOUR_SECONDS / 10)
      await h1.boot()
      await whenAgentReady(h1, 3)
      await until('it has a copy again', async () => (await copyOf(next, volume, h1))?.state === 'current', PATIENT)
    },
  )
}

async function create(host: Host, volume: string): Promise<void> {
  await host.docker(['volume', 'create', '--driver', 'wherry', '-o', 'checkpoint=2s', volume])
}

/** Sets a host's clock, and makes sure that it is set. */
async function step(host: Host, hours: number): Promise<void> {
  stepClock(host, hours * HOUR_SECONDS)
  await until('its heartbeat says so', async () => {
    await using agent = agentOf(host)
    const lastSeen = (await agent.hosts()).find(({ self }) => self)?.lastSeen ?? ''
    return Math.abs(Date.parse(lastSeen) - Date.now() - hours * HOUR_SECONDS * 1000) < HOUR_SECONDS * 100
  })
}

/** The other host with a copy of "data" gets one checkpoint after another; what operators are shown is sound. */
async function checkpointsGoOn(t: ExecutionContext<LabGround>, hours: number): Promise<void> {
  const { h1, lab } = t.context
  const second = await until('a copy', async () => (await currentOn(h1, 'data')).find((name) => name !== 'h1'), PATIENT)
  const other = lab.hosts.find(({ name }) => name === second) ?? h1
  const seq = (await copyOf(other, 'data', other))?.seq ?? 0
  await until(
    `checkpoints go on at ${hours} h`,
    async () => ((await copyOf(other, 'data', other))?.seq ?? 0) >= seq + CHECKPOINTS,
    PATIENT,
  )
  for (const host of lab.hosts) {
    await using agent = agentOf(host)
    t.true(((await agent.get('data')).checkpointing?.ageSeconds ?? 0) >= 0)
    const socket = ['--socket', `${host.stateSeen}/agent.sock`]
    for (const words of [['ls'], ['inspect', 'data'], ['hosts']]) {
      const { stdout } = await run(process.execPath, [WHERRY, ...words, ...socket])
      t.notRegex(stdout, /(^|\s)-\d/, `${words.join(' ')} on ${host.name} at ${hours} h`)
    }
    t.notRegex(JSON.stringify((await inspect(host, 'data'))?.Status), /[ "]-\d/)
  }
}

/** Ends a host's agent the hard way; resolves when the one that its plugin starts is ready. */
async function restartAgent(host: Host): Promise<void> {
  const [before] = host.processes(PLUGIN_PROCESSES.agent)
  if (before === undefined) throw new Error(`${host.name} has no agent`)
  host.kill(before.pid)
  await until('another agent', () => host.processes(PLUGIN_PROCESSES.agent).some(({ pid }) => pid !== before.pid))
  await whenAgentReady(host, 3)
}
