import { setTimeout as sleep } from 'node:timers/promises'
import type { ExecutionContext } from 'ava'
import type { Host } from '../../lab/host.ts'
import { until } from '../../lab/poll.ts'
import { agentOf, type LabGround, onLab } from './fixture.ts'

const test = onLab({ swarm: true }, {})

const EXECS = 40
const PAUSES = 20
/** Longer than the interval of checkpoints: with `docker pause` such a probe never came. */
const HEALTH_SECONDS = 5
/** What an operator does with a container that stands still. */
const PAUSED_MS = 100
/** Writes all the time, and says how much. */
const WRITER =
  'i=0; while :; do i=$((i+1)); dd if=/dev/urandom of=/data/f$((i%50)) bs=16k count=1 2>/dev/null; ' +
  'echo $i >/data/n; sleep 0.02; done'

test.serial(
  'promise 13: with control groups of both versions, commands, probes and pauses by hand go on as if there were no checkpoints',
  async (t) => {
    t.timeout(300_000)
    const { h1, h3 } = t.context
    const versions = await Promise.all([h1, h3].map((host) => host.docker(['info', '--format', '{{.CgroupVersion}}'])))
    t.log(versions.map(({ stdout }) => `control groups v${stdout.trim()}`))
    t.is(versions[1]?.stdout.trim(), '2')
    await Promise.all([h1, h3].map((host) => undisturbed(t, host)))
  },
)

test.serial('promise 13: a service with a health check becomes healthy on a volume that is checkpointed', async (t) => {
  t.timeout(200_000)
  const { h1, image } = t.context
  const mount = 'type=volume,source=service,destination=/data,volume-driver=wherry'
  const check = ['--health-cmd', 'true', '--health-interval', `${HEALTH_SECONDS}s`]
  const create = ['service', 'create', '--quiet', '--detach', '--network', 'host', '--name', 'healthy']
  t.teardown(() => h1.docker(['service', 'rm', 'healthy'], { allowFailure: true }))
  await h1.docker([...create, '--mount', mount, ...check, image, 'sh', '-c', WRITER])
  await until(
    'the service runs',
    async () => {
      const { stdout } = await h1.docker(['service', 'ls', '--format', '{{.Replicas}}'])
      return stdout.trim() === '1/1'
    },
    { timeoutMs: 120_000 },
  )
  t.pass()
})

async function undisturbed(t: ExecutionContext<LabGround>, host: Host): Promise<void> {
  const volume = `frozen-${host.name}`
  t.teardown(async () => {
    await host.docker(['rm', '-f', volume], { allowFailure: true })
  })
  await startWriter(host, t.context, volume)
  const before = await taken(host, volume)
  for (let count = 0; count < EXECS; count++) {
    const { code, stderr } = await host.docker(['exec', volume, 'true'], { allowFailure: true })
    t.is(code, 0, stderr)
  }
  await until('probes', async () => (await health(host, volume)).log.length >= 2, { timeoutMs: 60_000 })
  const { status, log } = await health(host, volume)
  t.is(status, 'healthy')
  t.true(log.every((exit) => exit === 0))
  // An engine remembers its newest events only: those of the commands and of the checkpoints beside them.
  const filter = ['--since', '10m', '--until', '0s', '--filter', `container=${volume}`, '--format', '{{.Action}}']
  const { stdout: events } = await host.docker(['events', ...filter])
  t.false(/^(un)?pause$/m.test(events), 'events show nothing of the checkpoints')
  await pauseByHand(t, host, volume)
  const after = await until(
    'checkpoints go on',
    async () => {
      const now = await taken(host, volume)
      return now.seq > before.seq + 2 && now.error === null ? now : null
    },
    { timeoutMs: 60_000 },
  )
  t.log(`${host.name}: checkpoints ${before.seq} to ${after.seq}, ${after.pauseMs} ms frozen for the last one`)
}

/** A container that writes, on a volume with checkpoints on another host. */
async function startWriter(host: Host, { image }: LabGround, volume: string): Promise<void> {
  await host.docker(['volume', 'create', '-d', 'wherry', '-o', 'checkpoint=1s', volume])
  const check = ['--health-cmd', 'true', '--health-interval', `${HEALTH_SECONDS}s`]
  const run = ['run', '-d', '--name', volume, '--network', 'host', ...check, '-v', `${volume}:/data`]
  await host.docker([...run, image, 'sh', '-c', WRITER])
  await until('checkpoints', async () => (await taken(host, volume)).seq > 2, { timeoutMs: 120_000 })
}

async function taken(host: Host, volume: string) {
  await using agent = agentOf(host)
  const { last, checkpointing } = await agent.get(volume)
  return { seq: last?.seq ?? 0, pauseMs: checkpointing?.pauseMs ?? null, error: checkpointing?.error ?? null }
}

/** What an operator has paused stands still until the operator lets it go on. */
async function pauseByHand(t: ExecutionContext<LabGround>, host: Host, volume: string): Promise<void> {
  await using agent = agentOf(host)
  const { id } = await agent.get(volume)
  const written = async () => (await host.exec(['cat', `${host.stateDir}/volumes/${id}/data/n`])).stdout
  for (let count = 0; count < PAUSES; count++) {
    const pause = await host.docker(['pause', volume], { allowFailure: true })
    t.is(pause.code, 0, pause.stderr)
    const n = await written()
    await sleep(PAUSED_MS)
    t.is(await written(), n, 'it stands still')
    const unpause = await host.docker(['unpause', volume], { allowFailure: true })
    t.is(unpause.code, 0, unpause.stderr)
  }
}

async function health(host: Host, container: string): Promise<{ status: string; log: number[] }> {
  const { stdout } = await host.docker(['inspect', '--format', '{{json .State.Health}}', container])
  const { Status, Log } = JSON.parse(stdout) as { Status: string; Log: { ExitCode: number }[] }
  return { status: Status, log: Log.map(({ ExitCode }) => ExitCode) }
}
