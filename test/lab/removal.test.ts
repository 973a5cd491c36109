import { globSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { type CommandResult, run } from '../../lab/command.ts'
import type { Host } from '../../lab/host.ts'
import { until } from '../../lab/poll.ts'
import { agentOf, inspect, onLab, shell, sleeper, whenAgentReady } from './fixture.ts'

const test = onLab({ swarm: true }, {})

const WHERRY = fileURLToPath(new URL('../../cli/wherry.ts', import.meta.url))
/** As `docker compose down -v` of three services, over and over. */
const ROUNDS = 6
const STACK = ['one', 'two', 'three']
const MOUNT = 'type=volume,source=served,destination=/data,volume-driver=wherry'

test.serial(
  'volumes are removed right after their last containers, from any host, also after an engine crash',
  async (t) => {
    t.timeout(300_000)
    const { h1, h2, lab } = t.context
    const refused: string[] = []
    for (let round = 0; round < ROUNDS; round++) {
      await Promise.all(STACK.map((name) => sleeper(h1, t.context, name, name)))
      await Promise.all(STACK.map((name) => h1.docker(['exec', name, 'sh', '-c', 'date >/data/file'])))
      await h1.docker(['rm', '-f', ...STACK])
      for (const [nth, name] of STACK.entries()) {
        const host = round < ROUNDS / 2 ? h1 : lab.host(nth + 1)
        const { code, stderr } = await volumeRm(host, name)
        if (code !== 0) refused.push(`${round} ${name} on ${host.name}: ${stderr}`)
      }
    }
    t.deepEqual(refused, [])
    await sleeper(h2, t.context, 'crashed', 'crashed')
    await h2.killEngine()
    await h2.startEngine()
    await h2.docker(['rm', '-f', 'crashed'])
    t.is((await volumeRm(h1, 'crashed')).stderr, '')
  },
)

test.serial(
  'promise 7: a clean-up elsewhere does not remove the volume of a service or of a stopped container',
  async (t) => {
    t.timeout(120_000)
    const { h1, h2, h3, image } = t.context
    const common = [
      '--name',
      'serving',
      '--network',
      'host',
      '--detach',
      '--no-resolve-image',
      '--restart-delay',
      '60s',
    ]
    const once = [image, 'sh', '-c', 'echo precious >/data/file']
    await h1.docker(['service', 'create', ...common, '--constraint', 'node.hostname==h1', '--mount', MOUNT, ...once])
    await until('the task has ended', async () => {
      const { stdout } = await h1.docker(['service', 'ps', 'serving', '--format', '{{.CurrentState}}'])
      return /^Complete/m.test(stdout)
    })
    const served = await volumeRm(h2, 'served')
    t.not(served.code, 0)
    t.regex(served.stderr, /"served" is in use .*by service serving.*wherry rm served --force/)
    await h1.docker(['service', 'rm', 'serving'])
    await until('Swarm has removed its container', async () => (await h1.docker(['ps', '-aq'])).stdout === '')

    await h3.docker(['create', '--name', 'kept', '-v', 'served:/data', '--volume-driver', 'wherry', image, 'true'])
    const kept = await volumeRm(h2, 'served')
    t.not(kept.code, 0)
    t.regex(kept.stderr, /in use on host h3 .* by container kept \(created\)/)
    const forced = await wherry(h2, 'rm', 'served', '--force')
    t.regex(forced.stdout, /^Removed served .*\n {2}container kept \(created\) on host h3/s)
    t.is(await inspect(h1, 'served'), null)
    await h3.docker(['rm', 'kept'])

    await h2.docker(['volume', 'create', '--driver', 'wherry', 'served'])
    t.regex(
      String((await inspect(h2, 'served'))?.Status?.earlier_volume),
      /was removed before; its data is still on (h\d, )*h1\b/,
    )
    t.is((await volumeRm(h2, 'served')).code, 0)
  },
)

test.serial(
  'promise 7: a volume whose only host is lost can be given up; what that host has is set aside',
  async (t) => {
    t.timeout(240_000)
    const { h1, h3 } = t.context
    await h1.docker(['volume', 'create', '--driver', 'wherry', '-o', 'copies=1', 'alone'])
    await sleeper(h3, t.context, 'alone', 'alone')
    await h3.docker(['exec', 'alone', 'sh', '-c', 'echo precious >/data/file; sync'])
    await until('the other hosts know of the container', async () => {
      await using agent = agentOf(h1)
      return (await agent.get('alone')).holder?.containers.includes('alone') === true
    })
    await h3.powerCut()
    const refused = await until(
      'the holder is away',
      async () => {
        const { stderr } = await volumeRm(h1, 'alone')
        return /lost for good/.test(stderr) && stderr
      },
      { timeoutMs: 60_000 },
    )
    t.regex(refused, /in use on host h3 .*not heard from for \d+ s by container alone.*wherry rm alone --accept-loss/)
    const { stdout } = await wherry(h1, 'rm', 'alone', '--accept-loss')
    t.regex(stdout, /Host h3 .* was given up/)
    await shell(h1, t.context, 'alone', 'echo new >/data/file')

    await h3.boot()
    await whenAgentReady(h3, 3)
    const aside = () => globSync(`${h3.stateSeen}/set-aside/alone-*/data/file`)
    await until('what it has is set aside', () => aside().length === 1)
    t.is(await readFile(String(aside()[0]), 'utf8'), 'precious\n')
    t.is((await shell(h3, t.context, 'alone', 'cat /data/file')).stdout, 'new\n')
  },
)

function volumeRm(host: Host, volume: string): Promise<CommandResult> {
  return host.docker(['volume', 'rm', volume], { allowFailure: true })
}

function wherry(host: Host, ...args: string[]): Promise<CommandResult> {
  return run(process.execPath, [WHERRY, ...args, '--socket', `${host.stateSeen}/agent.sock`])
}
