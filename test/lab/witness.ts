import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { ExecutionContext } from 'ava'
import type { Host } from '../../lab/host.ts'
import type { Lab } from '../../lab/lab.ts'
import type { Acknowledged } from '../../lab/ledger.ts'
import { until } from '../../lab/poll.ts'
import { changeSwarm } from '../../lab/swarm.ts'
import { agentOf, type LabGround, treeOf } from './fixture.ts'

const WITNESS_PROGRAM = fileURLToPath(new URL('../fixtures/witness.ts', import.meta.url))
/** Where lines are heard, outside all hosts. */
export const WITNESS = { address: '10.88.0.254', port: 7000 }
const SERVICE_TIMEOUT_MS = 90_000
const IDLE_TIMEOUT_MS = 60_000

/** The volume the writer writes to. */
export const VOLUME = 'ledger'
const SERVICE = 'writer'

/** Appends numbered lines, syncs each to disk, and only then tells the witness which line of which host it is. */
const WRITER = `
trap 'exit 0' TERM
n=$(wc -l </data/log 2>/dev/null || echo 0)
while :; do
  n=$((n+1))
  echo "$n $HOSTNAME" | dd of=/data/log oflag=append conv=notrunc,fsync 2>/dev/null &&
    echo "$n $HOSTNAME" | nc -w 2 ${WITNESS.address} ${WITNESS.port}
  sleep 0.02
done`

/** Starts the witness outside all hosts, for this test; returns the growing list of lines it hears. */
export async function startWitness(t: ExecutionContext<LabGround>, lab: Lab): Promise<Acknowledged[]> {
  const heard: Acknowledged[] = []
  const child = lab.spawn([process.execPath, WITNESS_PROGRAM, String(WITNESS.port)])
  t.teardown(() => child.kill('SIGKILL'))
  if (child.stdout === null) throw new Error('the witness has no output')
  let listening = false
  createInterface(child.stdout).on('line', (line) => {
    if (line === 'listening') listening = true
    const [number, host] = line.split(' ')
    if (host !== undefined) heard.push({ number: Number(number), host, atMs: Date.now() })
  })
  await until('the witness listens', () => listening)
  return heard
}

/** Starts the writer as a service of one container; returns the host it runs on, once the witness has heard of it. */
export async function startWriter({ lab, h1, image }: LabGround, heard: readonly Acknowledged[]): Promise<Host> {
  const mount = `type=volume,source=${VOLUME},destination=/data,volume-driver=wherry`
  const common = ['--name', SERVICE, '--network', 'host', '--mount', mount, '--detach', '--no-resolve-image']
  await changeSwarm(h1, ['service', 'create', ...common, image, 'sh', '-c', WRITER])
  const before = heard.length
  return await until('the service runs', async () => heard.length > before + 50 && (await holderOf(lab, VOLUME)), {
    timeoutMs: SERVICE_TIMEOUT_MS,
  })
}

/** Ends the service; resolves when nobody holds the volume, which stays. */
export async function stopWriter({ lab, h1 }: LabGround): Promise<void> {
  await endService(lab, h1, SERVICE, VOLUME)
}

/** Ends the service and removes the volume, so that the next test can begin anew. */
export async function removeWriter(ground: LabGround): Promise<void> {
  await stopWriter(ground)
  await removeLabVolume(ground.h1, VOLUME)
}

/** Removes a service; resolves when nobody holds its volume. */
export async function endService(lab: Lab, manager: Host, service: string, volume: string): Promise<void> {
  await changeSwarm(manager, ['service', 'rm', service])
  await until(`${volume} is idle`, async () => (await holderOf(lab, volume)) === null, { timeoutMs: IDLE_TIMEOUT_MS })
}

/** Removes a volume as soon as Docker lets it go. */
export async function removeLabVolume(host: Host, volume: string): Promise<void> {
  await until(
    `${volume} is removed`,
    async () => (await host.docker(['volume', 'rm', volume], { allowFailure: true })).code === 0,
    { timeoutMs: IDLE_TIMEOUT_MS },
  )
}

/** The ids of the service's containers on this host that run and are not paused. */
export async function runningWriters(host: Host): Promise<string[]> {
  const filter = ['--filter', `label=com.docker.swarm.service.name=${SERVICE}`, '--filter', 'status=running']
  const { stdout } = await host.docker(['ps', '-q', '--no-trunc', ...filter])
  return stdout.split('\n').filter((id) => id !== '')
}

/** The host that holds the volume by what the first host that answers says; `not` is not asked. */
export async function holderOf(lab: Lab, volume: string, not: Host | null = null): Promise<Host | null> {
  for (const host of lab.hosts) {
    if (host === not) continue
    await using agent = agentOf(host)
    const view = await agent.get(volume).catch(() => null)
    if (view !== null) return lab.hosts.find(({ name }) => name === view.holder?.host) ?? null
  }
  return null
}

/** Resolves when another host than `old` holds the volume, by what the others say. */
export async function holderAfter(lab: Lab, volume: string, old: Host): Promise<Host> {
  return await until(
    `another host than ${old.name} holds ${volume}`,
    async () => {
      const holder = await holderOf(lab, volume, old)
      return holder !== null && holder !== old && holder
    },
    { timeoutMs: 120_000 },
  )
}

/** Resolves when another host has the newest checkpoint of what the holder has. */
export async function copiedElsewhere(holder: Host, volume: string): Promise<void> {
  await until(
    `a checkpoint of ${volume} is elsewhere`,
    async () => {
      await using agent = agentOf(holder)
      return (await agent.get(volume)).copies.some(({ host, state }) => host !== holder.name && state === 'current')
    },
    { timeoutMs: 60_000 },
  )
}

/** What `at` says of the copy that `of` has. */
export async function copyStateOf(at: Host, volume: string, of: Host): Promise<string | undefined> {
  await using agent = agentOf(at)
  return (await agent.get(volume)).copies.find(({ host }) => host === of.name)?.state
}

/**
 * Asserts that the log in this host's copy is one unbroken line of numbers and has every line that the witness heard.
 */
export async function nothingLost(
  t: ExecutionContext<LabGround>,
  host: Host,
  heard: readonly Acknowledged[],
): Promise<void> {
  const log = await readFile(`${await treeOf(host, VOLUME)}/log`, 'utf8')
  const numbers = log
    .trimEnd()
    .split('\n')
    .map((line) => Number.parseInt(line, 10))
  t.deepEqual(
    numbers,
    numbers.map((_, index) => index + 1),
    'one unbroken line of writers',
  )
  const reported = new Set(heard.map(({ number }) => number))
  const missing = [...reported].filter((number) => number > numbers.length)
  t.deepEqual(missing, [], `${reported.size} lines were reported`)
}
