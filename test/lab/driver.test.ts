import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Host } from '../../lab/host.ts'
import { PLUGIN_PROCESSES } from '../../lab/plugin-processes.ts'
import { until } from '../../lab/poll.ts'
import { agentOf, idle, inspect, onLab, shell, sleeper, treeOf, whenAgentReady } from './fixture.ts'

const test = onLab({ hosts: 2 }, { WHERRY_LOG: 'debug' })

/** `docker plugin enable` without --timeout: Docker then gives up on a call after 30 s. */
const DEFAULT_ENABLE = ['plugin', 'enable', 'wherry']
/** Freezes of a volume that is checkpointed every second are met by some of them. */
const DUMPS = 8

test.serial(
  'one volume ls is one List, and a plugin process that stands still for 2 s delays calls only',
  async (t) => {
    const { h1 } = t.context
    const before = calls(h1, 'List')
    await h1.docker(['volume', 'ls'])
    await until('its line in the log', () => calls(h1, 'List') > before)
    t.is(calls(h1, 'List') - before, 1)
    const [plugin] = h1.processes(PLUGIN_PROCESSES.plugin)
    if (plugin === undefined) return t.fail('no plugin')
    h1.kill(plugin.pid, 'SIGSTOP')
    const created = h1.docker(['volume', 'create', '--driver', 'wherry', 'late'])
    await sleep(2_000)
    h1.kill(plugin.pid, 'SIGCONT')
    await created
    t.is((await inspect(h1, 'late'))?.Status?.holder, 'none')
    await h1.docker(['volume', 'rm', 'late'])
  },
)

test.serial('a container that cannot start after its Mount leaves no use of the volume', async (t) => {
  const { h1, h2 } = t.context
  const mount = ['-v', 'unused:/data', '--volume-driver', 'wherry']
  const failed = await h1.docker(['run', '--rm', ...mount, t.context.image, '/no/such/program'], { allowFailure: true })
  t.is(failed.code, 127)
  await nothingLeft(h1, 'unused')
  t.is((await shell(h2, t.context, 'unused', 'echo moved')).stdout, 'moved\n')
  await idle(h2, 'unused')
})

test.serial('docker commit, export and diff of a container work while its volume is checkpointed', async (t) => {
  const { h1, image } = t.context
  await h1.docker(['volume', 'create', '--driver', 'wherry', '-o', 'checkpoint=1s', 'dumped'])
  const write = 'while :; do date >/data/now; date >/now; sleep 0.02; done'
  await h1.docker(['run', '-d', '--name', 'dumped', '-v', 'dumped:/data', image, 'sh', '-c', write])
  await using agent = agentOf(h1)
  const seq = async () => (await agent.get('dumped')).last?.seq ?? 0
  await until('a checkpoint', async () => (await seq()) > 0)
  const before = await seq()
  for (let round = 1; round <= DUMPS || (await seq()) < before + 2; round++) {
    await h1.docker(['commit', 'dumped', 'dump:latest'])
    t.regex((await h1.docker(['diff', 'dumped'])).stdout, /^A \/now$/m)
    await h1.docker(['export', '--output', `${t.context.lab.directory}/dump.tar`, 'dumped'])
  }
  t.is((await h1.docker(['inspect', '-f', '{{.State.Status}} {{.RestartCount}}', 'dumped'])).stdout, 'running 0\n')
  const now = (await h1.docker(['exec', 'dumped', 'cat', '/now'])).stdout
  await until('it writes on', async () => (await h1.docker(['exec', 'dumped', 'cat', '/now'])).stdout !== now)
  await h1.docker(['rm', '-f', 'dumped'])
})

test.serial(
  'an engine that stands still does not hold up agent and plugin; one that is killed brings back a container',
  async (t) => {
    const { h1, h2 } = t.context
    const mount = ['-v', 'always:/data', '--volume-driver', 'wherry', '--restart', 'always']
    const run = 'echo start >>/data/starts; exec sleep 3600'
    await h1.docker(['run', '-d', '--name', 'always', ...mount, t.context.image, 'sh', '-c', run])
    const [engine] = h1.processes(/^\S*\/dockerd /)
    if (engine === undefined) return t.fail('no engine')
    h1.kill(engine.pid, 'SIGSTOP')
    {
      await using agent = agentOf(h1)
      t.is((await agent.get('always')).holder?.host, 'h1')
      await until('the agent says so', async () => !(await agent.health()).engine.reachable)
    }
    t.is((await inspect(h2, 'always'))?.Status?.holder, 'h1')
    h1.kill(engine.pid, 'SIGCONT')
    await whenAgentReady(h1, 2)
    t.is((await h1.docker(['inspect', '-f', '{{.State.Status}}', 'always'])).stdout, 'running\n')

    await h1.killEngine()
    await h1.startEngine()
    const starts = async () => (await h1.docker(['exec', 'always', 'cat', '/data/starts'])).stdout
    await until('it has started again, with its volume', async () => /^(start\n){2,}$/.test(await starts()))
    await h1.docker(['rm', '-f', 'always'])
    await nothingLeft(h1, 'always')
  },
)

test('volumes of other drivers are made, shown and listed while the agent stands still', async (t) => {
  const { h1 } = t.context
  await h1.docker(['volume', 'create', 'of-docker'])
  const [agent] = h1.processes(PLUGIN_PROCESSES.agent)
  if (agent === undefined) return t.fail('no agent')
  h1.kill(agent.pid, 'SIGSTOP')
  t.is((await inspect(h1, 'of-docker'))?.Name, 'of-docker')
  t.regex((await h1.docker(['volume', 'ls'])).stdout, /local +of-docker/)
  t.true(
    h1.processes(PLUGIN_PROCESSES.agent).some(({ pid }) => pid === agent.pid),
    'it was not waited for',
  )
  await h1.docker(['run', '--rm', '-v', 'of-docker:/data', t.context.image, 'touch', '/data/file'])
  await until('the agent was replaced', () => h1.processes(PLUGIN_PROCESSES.agent).some(({ pid }) => pid !== agent.pid))
  await h1.docker(['volume', 'rm', 'of-docker'])
})

test('promise 9: with the default time limit of docker plugin enable a Mount says why it failed, from the second on', async (t) => {
  const { h1, h2 } = t.context
  await h2.docker(['plugin', 'disable', '-f', 'wherry'])
  await h2.docker(DEFAULT_ENABLE)
  await whenAgentReady(h2, 2)
  await sleeper(h1, t.context, 'taken', 'taker')
  const unmounts = calls(h2, 'Unmount')
  const first = await shell(h2, t.context, 'taken', 'true', true)
  t.regex(first.stderr, /context deadline exceeded|Client\.Timeout/)
  const second = await shell(h2, t.context, 'taken', 'true', true)
  t.regex(second.stderr, /"taken" is in use on host h1 .* by container taker.*--timeout 0/)
  t.is(calls(h2, 'Unmount'), unmounts, 'a failed Mount gets no Unmount')
  await h1.docker(['rm', '-f', 'taker'])
  await nothingLeft(h2, 'taken')
  t.is((await shell(h2, t.context, 'taken', 'echo moved')).stdout, 'moved\n')
})

/** How many calls of a kind the plugin has answered so far. */
function calls(host: Host, call: string): number {
  return [...host.engineLog().matchAll(new RegExp(`call=VolumeDriver\\.${call}\\b`, 'g'))].length
}

/** Resolves when nobody holds the volume, and this host has neither a use nor a mount of it. */
async function nothingLeft(host: Host, volume: string): Promise<void> {
  await idle(host, volume)
  const tree = await treeOf(host, volume).catch(() => null)
  await using agent = agentOf(host)
  const { id } = await agent.get(volume)
  await until(`no mount of ${volume}`, async () => {
    const { stdout } = await host.exec(['cat', '/proc/self/mountinfo'])
    return !stdout.includes(id)
  })
  if (tree === null) return
  const record = JSON.parse(readFileSync(`${tree}/../volume.json`, 'utf8')) as { mounts?: object }
  if (Object.keys(record.mounts ?? {}).length > 0) throw new Error(`${volume}: ${JSON.stringify(record.mounts)}`)
}
