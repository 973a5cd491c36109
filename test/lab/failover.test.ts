import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { ExecutionContext } from 'ava'
import { agentOf, agentReady, type Ground, onLab } from './fixture.ts'
import type { Host } from './harness/host.ts'
import type { Lab } from './harness/lab.ts'
import { until } from './harness/poll.ts'
import { changeSwarm } from './harness/swarm.ts'

const test = onLab({ swarm: true }, {})

const WITNESS = fileURLToPath(new URL('../fixtures/witness.ts', import.meta.url))
const WITNESS_ADDRESS = '10.88.0.254'
const WITNESS_PORT = 7001
/** The registry's servers do not reach each other any more; hosts do. */
const ROUTES = ['-p', 'tcp', '--dport', '7452', '-j', 'DROP']
/** A line that was synced and reported may be reported a little after it was written. */
const REPORT_SLACK_MS = 1_500
/** Longer than a checkpoint's pause. */
const PAUSE_MS = 700

/** Appends numbered lines, syncs each to disk, and only then tells the witness which line of which host it is. */
const WRITER = `
trap 'exit 0' TERM
n=$(wc -l </data/log 2>/dev/null || echo 0)
while :; do
  n=$((n+1)); echo "$n $HOSTNAME" | dd of=/data/log oflag=append conv=notrunc,fsync 2>/dev/null && echo "$n $HOSTNAME" | nc -w 2 ${WITNESS_ADDRESS} ${WITNESS_PORT}
  sleep 0.02
done`

interface Line {
  readonly number: number
  readonly host: string
  readonly atMs: number
}

test.serial(
  'promise 5: a host that loses its power under load: the service is back elsewhere, and what is missing is younger than was said',
  async (t) => {
    t.timeout(300_000)
    const { lab } = t.context
    const heard = await witness(t, lab)
    const old = await startService(t.context, heard)
    const cutMs = performance.now()
    await old.powerCut()
    const next = await holderAfter(lab, old)
    await until('lines from the new host', () => heard.some(({ host }) => host === next.name), { timeoutMs: 90_000 })
    const first = heard.find(({ host }) => host === next.name)
    if (first === undefined) return t.fail()
    await using agent = agentOf(next)
    const view = await agent.get('ledger')
    t.is(view.seizure?.from, old.name)
    const saidMs = (view.seizure?.ageSeconds ?? 0) * 1000
    const lost = heard.filter(({ number, host }) => host === old.name && number >= first.number)
    const oldestMs = Math.min(cutMs, ...lost.map(({ atMs }) => atMs))
    t.true(cutMs - oldestMs <= saidMs + REPORT_SLACK_MS, `lost ${lost.length} lines, ${saidMs} ms were announced`)
    const mountMs = Number(
      /"volume":"ledger".*?"waitMs":(\d+).*?"mounted"/.exec(next.engineLog().replaceAll('\\"', '"'))?.[1],
    )
    t.log(
      `blackout ${Math.round(first.atMs - cutMs)} ms, the last Mount waited ${mountMs} ms, ${lost.length} lines lost, announced ${saidMs} ms`,
    )

    await old.boot()
    await agentReady(old, 3)
    await until('the old host has a current copy again', async () => (await copyOf(next, old)) === 'current', {
      timeoutMs: 120_000,
    })
    await using back = agentOf(old)
    const { diverged } = await back.get('ledger')
    t.is(diverged.length, lost.length > 0 ? 1 : diverged.length, 'what only the old host had is kept')
    await endService(t.context)
  },
)

test.serial(
  'promise 6: a holder that is cut off is paused before the other side starts, and never two run',
  async (t) => {
    t.timeout(300_000)
    const { lab } = t.context
    const heard = await witness(t, lab)
    const old = await startService(t.context, heard)
    const sampling = new AbortController()
    const both: string[] = []
    const samples = sample(lab, sampling.signal, (running) => {
      if (running.length > 1) both.push(running.join(' '))
    })
    await lab.link(old, 'down')
    const next = await holderAfter(lab, old)
    await until('lines from the new host', () => heard.some(({ host }) => host === next.name), { timeoutMs: 90_000 })
    t.deepEqual(await running(old), [], 'the old one is paused')
    await sleep(3_000)
    await lab.link(old, 'up')
    await until('the old host has a current copy again', async () => (await copyOf(next, old)) === 'current', {
      timeoutMs: 120_000,
    })
    sampling.abort()
    t.true((await samples) > 50, 'both sides were looked at all the time')
    t.deepEqual(both, [], 'never two unpaused')
    await endService(t.context)
  },
)

test.serial('promise 6: a registry that is away for all hosts pauses nobody, and all goes on', async (t) => {
  t.timeout(200_000)
  const { lab } = t.context
  const heard = await witness(t, lab)
  const holder = await startService(t.context, heard)
  for (const host of lab.hosts) await host.exec(['iptables', '-A', 'INPUT', ...ROUTES])
  try {
    for (let second = 0; second < 30; second++) {
      await sleep(1_000)
      t.true(await runsOn(holder), `second ${second}`)
    }
  } finally {
    for (const host of lab.hosts) await host.exec(['iptables', '-D', 'INPUT', ...ROUTES])
  }
  const before = heard.length
  await until('lines go on', () => heard.length > before + 50)
  await sleep(15_000)
  t.true(await runsOn(holder))
  t.is((await holderOf(lab))?.name, holder.name, 'nothing moved')
  await endService(t.context)
})

async function witness(t: ExecutionContext<Ground>, lab: Lab): Promise<Line[]> {
  const heard: Line[] = []
  const child = lab.spawn([process.execPath, WITNESS, String(WITNESS_PORT)])
  t.teardown(() => child.kill('SIGKILL'))
  if (child.stdout === null) throw new Error('the witness has no output')
  let listening = false
  createInterface(child.stdout).on('line', (line) => {
    if (line === 'listening') listening = true
    const [number, host] = line.split(' ')
    if (host !== undefined) heard.push({ number: Number(number), host, atMs: performance.now() })
  })
  await until('the witness listens', () => listening)
  return heard
}

/** Starts the writer as a service; answers the host it runs on, once another host has a checkpoint of what it wrote. */
async function startService({ lab, h1, image }: Ground, heard: readonly Line[]): Promise<Host> {
  const mount = 'type=volume,source=ledger,destination=/data,volume-driver=wherry'
  const common = ['--name', 'writer', '--network', 'host', '--mount', mount, '--detach', '--no-resolve-image']
  await changeSwarm(h1, ['service', 'create', ...common, image, 'sh', '-c', WRITER])
  const holder = await until('the service runs', async () => heard.length > 50 && (await holderOf(lab)), {
    timeoutMs: 90_000,
  })
  await until(
    'a checkpoint is elsewhere',
    async () => {
      await using agent = agentOf(holder)
      return (await agent.get('ledger')).copies.some(({ host, state }) => host !== holder.name && state === 'current')
    },
    { timeoutMs: 60_000 },
  )
  return holder
}

async function endService({ lab, h1 }: Ground): Promise<void> {
  await changeSwarm(h1, ['service', 'rm', 'writer'])
  await until('the volume is idle', async () => (await holderOf(lab)) === null, { timeoutMs: 60_000 })
  await until(
    'the volume is removed',
    async () => (await h1.docker(['volume', 'rm', 'ledger'], { allowFailure: true })).code === 0,
    { timeoutMs: 60_000 },
  )
}

async function holderOf(lab: Lab, not: Host | null = null): Promise<Host | null> {
  for (const host of lab.hosts) {
    if (host === not) continue
    await using agent = agentOf(host)
    const view = await agent.get('ledger').catch(() => null)
    if (view !== null) return lab.hosts.find(({ name }) => name === view.holder?.host) ?? null
  }
  return null
}

async function holderAfter(lab: Lab, old: Host): Promise<Host> {
  return await until(
    'another host holds the volume',
    async () => {
      const holder = await holderOf(lab, old)
      return holder !== null && holder !== old && holder
    },
    { timeoutMs: 120_000 },
  )
}

async function copyOf(at: Host, of: Host): Promise<string | undefined> {
  await using agent = agentOf(at)
  return (await agent.get('ledger')).copies.find(({ host }) => host === of.name)?.state
}

/** Ids of containers of the service that run and are not paused. */
async function running(host: Host): Promise<string[]> {
  const filter = ['--filter', 'label=com.docker.swarm.service.name=writer', '--filter', 'status=running']
  const { stdout } = await host.docker(['ps', '-q', '--no-trunc', ...filter])
  return stdout.split('\n').filter((id) => id !== '')
}

/** Whether the service's container runs; a checkpoint pauses it for a moment only. */
async function runsOn(host: Host): Promise<boolean> {
  for (let look = 0; look < 3; look++) {
    if ((await running(host)).length === 1) return true
    await sleep(PAUSE_MS)
  }
  return false
}

/** Looks at all hosts about every 100 ms; answers how often it did. */
async function sample(lab: Lab, signal: AbortSignal, look: (running: string[]) => void): Promise<number> {
  let looks = 0
  while (!signal.aborted) {
    look((await Promise.all(lab.hosts.map(running))).flat())
    looks++
    await sleep(50)
  }
  return looks
}
