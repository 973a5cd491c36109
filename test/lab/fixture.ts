import anyTest, { type TestFn } from 'ava'
import { createAgentClient } from '../../agent/api/client.ts'
import type { HostView, MoveView, VerifyView, VolumeView } from '../../agent/api/contract.ts'
import type { Health } from '../../agent/mobility/contract.ts'
import type { VolumeOptions } from '../../agent/model/model.ts'
import type { CommandResult } from '../../lab/command.ts'
import type { Host } from '../../lab/host.ts'
import { busybox } from '../../lab/images.ts'
import { Lab, type LabOptions } from '../../lab/lab.ts'
import type { PluginSettings } from '../../lab/plugin.ts'
import { until } from '../../lab/poll.ts'

export interface LabGround {
  lab: Lab
  h1: Host
  h2: Host
  /** Throws in a lab of two hosts. */
  readonly h3: Host
  /** Reference of the busybox image. */
  image: string
}

/**
 * One lab at a time on a machine: the one before may run a long test to its end. Whoever gives up waiting would hold
 * the lock as soon as he gets it.
 */
const LAB_WAIT_MS = 3_600_000

/**
 * One lab of three hosts with the plugin for all tests of a file; the engines' logs are printed when one fails.
 * `build` makes the plugin into an empty directory of the lab, in place of scripts/build-plugin.
 */
export function onLab(
  options: LabOptions,
  settings: PluginSettings,
  build?: (directory: string) => Promise<void>,
): TestFn<LabGround> {
  const test = anyTest as TestFn<LabGround>
  let ground: LabGround | undefined
  test.serial.before('start the lab', async (t) => {
    t.timeout(LAB_WAIT_MS)
    const lab = await Lab.start(options)
    const built = `${lab.directory}/plugin`
    await build?.(built)
    ground = {
      lab,
      h1: lab.host(1),
      h2: lab.host(2),
      get h3() {
        return lab.host(3)
      },
      image: '',
    }
    await lab.installPlugin({ settings, ...(build === undefined ? {} : { built }) })
    ground.image = await lab.image(busybox)
    await Promise.all(lab.hosts.map((host) => host.docker(['pull', '-q', ground?.image ?? ''])))
    await Promise.all(lab.hosts.map((host) => whenAgentReady(host, lab.hosts.length)))
  })
  test.beforeEach((t) => {
    if (ground === undefined) throw new Error('the lab did not start')
    t.context = ground
  })
  test.afterEach.always((t) => {
    if (!t.passed) t.log(ground?.lab.logs())
  })
  test.after.always('take the lab down', async (t) => {
    t.timeout(120_000)
    await ground?.lab.stop()
  })
  return test
}

/** The agent of a host, asked over its socket as the plugin asks it, each call with a time limit. */
export interface Agent extends AsyncDisposable {
  create(name: string, options: VolumeOptions): Promise<VolumeView>
  get(name: string): Promise<VolumeView>
  verify(name: string): Promise<VerifyView>
  hosts(): Promise<HostView[]>
  moves(): Promise<MoveView[]>
  health(): Promise<Health>
  metrics(): Promise<string>
}

const AGENT_CALL_MS = 20_000

export function agentOf(host: Host): Agent {
  const client = createAgentClient(`${host.stateSeen}/agent.sock`)
  const limit = () => AbortSignal.timeout(AGENT_CALL_MS)
  return {
    create: (name, options) => client.create({ name, options }, limit()),
    get: (name) => client.get(name, limit()),
    verify: (name) => client.verify(name, limit()),
    hosts: () => client.hosts(limit()),
    moves: () => client.moves(limit()),
    health: () => client.health(limit()),
    metrics: () => client.metrics(limit()),
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  }
}

/** Resolves when the host's agent has the registry and the engine and has heard of all hosts. */
export async function whenAgentReady(host: Host, hosts: number): Promise<void> {
  await until(
    `${host.name}: agent ready`,
    async () => {
      await using agent = agentOf(host)
      return (await agent.health()).ready && (await agent.hosts()).filter(({ alive }) => alive).length >= hosts
    },
    { timeoutMs: 90_000 },
  )
}

/** `docker run --rm` of a shell command in busybox with a volume at /data. */
export function shell(
  host: Host,
  ground: LabGround,
  volume: string,
  command: string,
  allowFailure = false,
): Promise<CommandResult> {
  const mount = ['--network', 'host', '-v', `${volume}:/data`, '--volume-driver', 'wherry']
  return host.docker(['run', '--rm', ...mount, ground.image, 'sh', '-c', command], { allowFailure })
}

/** Starts a container that sleeps with the volume at /data; resolves when it runs. */
export async function sleeper(host: Host, ground: LabGround, volume: string, name: string): Promise<void> {
  const mount = ['-v', `${volume}:/data`, '--volume-driver', 'wherry']
  await host.docker(['run', '-d', '--name', name, ...mount, ground.image, 'sleep', '3600'])
}

export interface InspectedVolume {
  readonly Name: string
  readonly Mountpoint: string
  readonly Status: Record<string, unknown> | null
}

/** `docker volume inspect`, or null when Docker says that there is none. */
export async function inspect(host: Host, volume: string): Promise<InspectedVolume | null> {
  const { code, stdout } = await host.docker(['volume', 'inspect', volume], { allowFailure: true })
  return code === 0 ? (JSON.parse(stdout)[0] as InspectedVolume) : null
}

/** The volume's directory on a host's disk. */
export async function treeOf(host: Host, volume: string): Promise<string> {
  await using agent = agentOf(host)
  return `${host.stateSeen}/volumes/${(await agent.get(volume)).id}/data`
}

/** Resolves when no host holds the volume. */
export async function idle(host: Host, volume: string): Promise<void> {
  await until(`${volume} released`, async () => {
    await using agent = agentOf(host)
    return (await agent.get(volume)).holder === null
  })
}
