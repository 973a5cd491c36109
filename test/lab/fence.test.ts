import { existsSync, globSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import anyTest, { type TestFn } from 'ava'
import { pino } from 'pino'
import { createEngine } from '../../agent/docker/engine.ts'
import { openPauses } from '../../agent/fence/pauses.ts'
import { pathsUnder } from '../../agent/host/paths.ts'
import type { Host } from '../../lab/host.ts'
import { busybox } from '../../lab/images.ts'
import { Lab } from '../../lab/lab.ts'
import { until } from '../../lab/poll.ts'

const LEASE_MS = 2_000
const HEARTBEAT_MS = 200
/** From the lease's end until every container stands still. */
const FENCE_WITHIN_MS = 1_000
const RESUMED_WITHIN_MS = 1_000
/** Two node processes and an engine on two cores. */
const PLUGIN_START_MS = 10_000
const here = (file: string) => fileURLToPath(new URL(file, import.meta.url))
const PLUGIN = /^\S*node \S*run-plugin\.ts/
const AGENT = /^\S*node \S*fence-agent\.ts --root/
const log = pino({ level: 'silent' })

interface Ground {
  lab: Lab
  host: Host
  image: string
  /**
   * Of plugin and agent: they run in the host's namespaces, outside a container, so that each can be killed by
   * itself.
   */
  root: string
}

const test = anyTest as TestFn<Ground>
let ground: Ground | undefined

test.serial.before('start the lab', async (t) => {
  t.timeout(300_000)
  const lab = await Lab.start({ hosts: 1, swarm: true, log: t.log })
  const host = lab.host(1)
  ground = { lab, host, image: await lab.image(busybox), root: `${host.directory}/plugin` }
  await host.docker(['pull', '-q', ground.image])
  mkdirSync(`${ground.root}/run/docker/plugins`, { recursive: true })
  mkdirSync(`${ground.root}/var/lib/wherry`, { recursive: true })
  symlinkSync(host.socket, pathsUnder(ground.root).dockerSocket)
  mkdirSync(`${ground.root}/host`)
  symlinkSync('/sys/fs/cgroup', pathsUnder(ground.root).controlGroups)
  await host.exec(['mount', '--bind', `${ground.root}/run/docker/plugins`, '/run/docker/plugins'])
})

test.beforeEach((t) => {
  if (ground === undefined) throw new Error('the lab did not start')
  t.context = ground
})

test.afterEach.always(async (t) => {
  if (!t.passed) t.log(ground?.host.engineLog().slice(-4_000))
  if (ground !== undefined) await clear(ground)
})

test.after.always('take the lab down', async (t) => {
  t.timeout(120_000)
  await ground?.lab.stop()
})

test.serial('promise 6: an agent that stands still: fenced in time, then killed and started again', async (t) => {
  const { host } = t.context
  await startPlugin(t.context)
  await runContainers(t.context)
  const [agent] = host.processes(AGENT)
  host.kill(agent?.pid ?? 0, 'SIGSTOP')
  await fencedInTime(t.context)
  t.deepEqual(await states(host), { one: 'paused', two: 'paused', other: 'running', person: 'paused' })
  await until('another agent', () => host.processes(AGENT).some(({ pid }) => pid !== agent?.pid), {
    timeoutMs: 4 * LEASE_MS,
  })
  await sleep(LEASE_MS)
  t.deepEqual(await states(host), { one: 'paused', two: 'paused', other: 'running', person: 'paused' })

  const pauses = await pausesOf(t.context)
  await pauses.resume(() => true)
  t.deepEqual(await states(host), { one: 'running', two: 'running', other: 'running', person: 'paused' })
})

test.serial('promise 6: an agent that is killed and cannot start: fenced in time', async (t) => {
  const { host, root } = t.context
  await startPlugin(t.context)
  await runContainers(t.context)
  writeFileSync(`${root}/no-agent`, '')
  for (const { pid } of host.processes(AGENT)) host.kill(pid)
  await fencedInTime(t.context)
  t.deepEqual(await states(host), { one: 'paused', two: 'paused', other: 'running', person: 'paused' })

  await letAgentStart(t.context)
  await (await pausesOf(t.context)).kill(() => true)
  t.deepEqual(await states(host), { one: 'exited', two: 'exited', other: 'running', person: 'paused' })
})

test.serial('promise 6: an agent that is well and has no lease: fenced in time, and not killed', async (t) => {
  const { host, root } = t.context
  await startPlugin(t.context)
  await runContainers(t.context)
  const [agent] = host.processes(AGENT)
  writeFileSync(`${root}/no-lease`, '')
  await fencedInTime(t.context)
  await sleep(4 * LEASE_MS)
  t.is(host.processes(AGENT)[0]?.pid, agent?.pid)
})

test.serial('promise 6: plugin and agent both killed: the next plugin fences in time, without an agent', async (t) => {
  const { host, root } = t.context
  await startPlugin(t.context)
  await runContainers(t.context)
  writeFileSync(`${root}/no-agent`, '')
  const startMs = performance.now()
  for (const { pid } of [...host.processes(PLUGIN), ...host.processes(AGENT)]) host.kill(pid)
  await startPlugin(t.context)
  await fencedInTime(t.context, startMs)
  t.deepEqual(await states(host), { one: 'paused', two: 'paused', other: 'running', person: 'paused' })
})

for (const victims of [[AGENT], [PLUGIN, AGENT]]) {
  const names = victims.length === 1 ? 'an agent' : 'plugin and agent'
  test.serial(`promise 11: ${names} killed in a checkpoint's pause: the containers run again at once`, async (t) => {
    const { host, root } = t.context
    await startPlugin(t.context)
    await runContainers(t.context)
    writeFileSync(`${root}/checkpoint`, '')
    await until('a freeze', async () => (await areFrozen(t.context, 'one', 'two')).every(Boolean), { everyMs: 20 })
    const now = { one: 'running', two: 'running', other: 'running', person: 'paused' }
    t.deepEqual(await states(host), now, 'promise 13: Docker sees nothing of it')
    writeFileSync(`${root}/no-agent`, '')
    for (const { pid } of victims.flatMap((victim) => host.processes(victim))) host.kill(pid)
    // Without a word there is no fence: on a slow machine a plugin may take longer to start than this lease.
    if (victims.includes(PLUGIN)) rmSync(`${root}/var/lib/wherry/guard.json`, { force: true })
    if (victims.includes(PLUGIN)) await startPlugin(t.context)
    await until('both run', async () => !(await areFrozen(t.context, 'one', 'two')).some(Boolean), {
      timeoutMs: victims.includes(PLUGIN) ? PLUGIN_START_MS : RESUMED_WITHIN_MS,
      everyMs: 20,
    })
    t.deepEqual(await states(host), now)
  })
}

test.serial(
  'an engine pauses, resumes and kills; all of it may be repeated, and is no error for what is gone',
  async (t) => {
    const { host, image } = t.context
    const engine = createEngine({ socketPath: host.socket, log })
    const run = [
      'run',
      '-d',
      '--restart',
      'always',
      '--name',
      'one',
      image,
      'sh',
      '-c',
      'trap "" TERM; while :; do sleep 1; done',
    ]
    const id = (await host.docker(run)).stdout.trim()
    t.true(await engine.pause(id))
    t.false(await engine.pause(id))
    await engine.unpause(id)
    await engine.unpause(id)
    t.is((await states(host)).one, 'running')
    await engine.pause(id)
    const startMs = performance.now()
    await engine.kill(id)
    t.log(`killed a paused container in ${Math.round(performance.now() - startMs)} ms`)
    t.is((await states(host)).one, 'exited')
    await sleep(500)
    t.is((await states(host)).one, 'exited', 'a killed container is not started again')
    t.false(await engine.pause(id))
    await engine.unpause(id)
    await engine.kill(id)
    await host.docker(['rm', '-f', id])
    t.false(await engine.pause(id))
    await engine.unpause(id)
    await engine.kill(id)
  },
)

test.serial("labels of a Swarm's node are replaced below a prefix, also when many change it at once", async (t) => {
  const { host } = t.context
  const engine = createEngine({ socketPath: host.socket, log })
  const { swarmNode } = await engine.info()
  const node = swarmNode ?? ''
  await host.docker(['node', 'update', '--label-add', 'zone=a', node])
  const versionOf = async () => (await engine.nodes()).find(({ id }) => id === node)?.version ?? 0
  const set = (prefix: string, labels: Record<string, string>) =>
    until('labels are written', async () => engine.setNodeLabels(node, await versionOf(), prefix, labels))
  await Promise.all(['x', 'y', 'z'].map((name) => set(`${name}.`, { [`${name}.data`]: 'copy' })))
  const old = await versionOf()
  await set('x.', { 'x.more': 'holder' })
  t.false(await engine.setNodeLabels(node, old, 'x.', {}), 'what somebody else has changed meanwhile is left alone')
  t.deepEqual((await engine.nodeLabels()).get(node), {
    zone: 'a',
    'x.more': 'holder',
    'y.data': 'copy',
    'z.data': 'copy',
  })
})

/** As an engine starts it; resolves when it serves and, unless kept from it, its agent does. */
async function startPlugin({ host, root }: Ground): Promise<void> {
  const env = [
    'env',
    '-i',
    `PATH=${process.env.PATH}`,
    `WHERRY_LEASE=${LEASE_MS}ms`,
    `WHERRY_HEARTBEAT=${HEARTBEAT_MS}ms`,
  ]
  const program = [process.execPath, here('../unit/plugin/run-plugin.ts'), here('../fixtures/fence-agent.ts')]
  void host.exec([...env, ...program, '--root', root], { timeoutMs: 600_000, allowFailure: true })
  await until('a plugin', () => host.processes(PLUGIN).length > 0, { everyMs: 20 })
  if (existsSync(`${root}/no-agent`)) return
  await until('a word of the agent', () => existsSync(`${root}/var/lib/wherry/guard.json`), { everyMs: 20 })
  await until('an agent', () => host.docker(['volume', 'inspect', 'data']))
}

/** Two with the guarded volume, one with another, and one with the guarded volume that an operator has paused. */
async function runContainers({ host, image }: Ground): Promise<void> {
  const run = (name: string, volume: string) =>
    host.docker([
      'run',
      '-d',
      '--name',
      name,
      '-v',
      `${volume}:/data`,
      '--volume-driver',
      'wherry',
      image,
      'sleep',
      '600',
    ])
  await Promise.all([run('one', 'data'), run('two', 'data'), run('other', 'other'), run('person', 'data')])
  await host.docker(['pause', 'person'])
}

/** The last word was said at most a heartbeat before. */
async function fencedInTime({ host }: Ground, startMs = performance.now()): Promise<void> {
  await sleep(Math.max(0, startMs + LEASE_MS - 4 * HEARTBEAT_MS - performance.now()))
  const early = await states(host)
  if (early.one !== 'running') throw new Error(`fenced too early: ${JSON.stringify(early)}`)
  await until(
    'all paused',
    async () => {
      const now = await states(host)
      return now.one === 'paused' && now.two === 'paused'
    },
    { timeoutMs: startMs + LEASE_MS + FENCE_WITHIN_MS - performance.now(), everyMs: 20 },
  )
}

/**
 * Whether containers are frozen, as their own control group says it; a look at `freezer.state` would end the freeze.
 */
async function areFrozen({ host }: Ground, ...names: string[]): Promise<boolean[]> {
  const { stdout } = await host.docker(['inspect', '--format', '{{.Id}}', ...names])
  return stdout
    .trim()
    .split('\n')
    .map((id) => {
      const [file = ''] = globSync(`/sys/fs/cgroup/freezer/**/${id}/freezer.self_freezing`)
      return readFileSync(file, 'utf8') === '1\n'
    })
}

async function states(host: Host): Promise<Record<string, string>> {
  const { stdout } = await host.docker(['ps', '-a', '--format', '{{.Names}} {{.State}}'])
  return Object.fromEntries(
    stdout
      .trim()
      .split('\n')
      .filter(Boolean)
      .map((line) => line.split(' ') as [string, string]),
  )
}

/** Without an agent the engine waits long for answers when containers end. */
async function letAgentStart({ host, root }: Ground): Promise<void> {
  for (const name of ['no-agent', 'no-lease', 'checkpoint']) rmSync(`${root}/${name}`, { force: true })
  if (host.processes(PLUGIN).length > 0) await until('an agent', () => host.processes(AGENT).length > 0)
}

/** As an agent that has its lease again uses them. */
function pausesOf({ host, root }: Ground) {
  const engine = createEngine({ socketPath: host.socket, log })
  return openPauses({ stateDir: pathsUnder(root).stateDir, engine, log })
}

async function clear(ground: Ground): Promise<void> {
  const { host, root } = ground
  await letAgentStart(ground)
  const names = Object.keys(await states(host))
  if (names.length > 0) await host.docker(['rm', '-f', ...names])
  for (const { pid } of [...host.processes(PLUGIN), ...host.processes(AGENT)]) host.kill(pid)
  await until('the end of the plugin', () => host.processes(/run-plugin|fence-agent/).length === 0)
  rmSync(`${root}/var/lib/wherry/guard.json`, { force: true })
}
