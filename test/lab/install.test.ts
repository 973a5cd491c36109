import { fileURLToPath } from 'node:url'
import test from 'ava'
import { run } from '../../lab/command.ts'
import { busybox } from '../../lab/images.ts'
import { Lab } from '../../lab/lab.ts'
import { agentOf, agentReady, inspect, shell } from './fixture.ts'

const WHERRY = fileURLToPath(new URL('../../scripts/wherry', import.meta.url))

test.serial('scripts/install makes a single host ready, and once more keeps its settings and its data', async (t) => {
  t.timeout(300_000)
  await using lab = await Lab.start({ hosts: 1 })
  const host = lab.host(1)
  const ground = { lab, h1: host, h2: host, h3: host, image: await lab.image(busybox) }
  await install(lab, [`state.source=${host.stateDir}`, `docker.source=${host.socket}`, 'WHERRY_MOUNT_DEADLINE=20s'])
  await agentReady(host, 1)
  await host.docker(['volume', 'create', '--driver', 'wherry', 'data'])
  await shell(host, ground, 'data', 'echo kept >/data/file')
  const before = await inspect(host, 'data')
  t.regex(String(before?.Status?.copies), /^h1: current|^h1: filling|none/)

  const listed = await wherry(lab, 'ls')
  t.regex(listed.stdout, /^VOLUME .*\ndata /, listed.stderr)
  t.regex((await wherry(lab, 'hosts')).stdout, /h1 \(this\) .*alive/)
  t.regex((await wherry(lab, 'inspect', 'nothing')).stderr, /VOLUME_NOT_FOUND/)

  await host.docker([
    'run',
    '-d',
    '--name',
    'user',
    '-v',
    'data:/data',
    '--volume-driver',
    'wherry',
    ground.image,
    'sleep',
    '3600',
  ])
  const refused = await install(lab, [], true)
  t.not(refused.code, 0)
  t.regex(refused.stderr, /running containers use the plugin: user \(volume data\)/)
  await host.docker(['rm', '-f', 'user'])

  await install(lab, [])
  await agentReady(host, 1)
  t.is((await shell(host, ground, 'data', 'cat /data/file')).stdout, 'kept\n')
  t.is((await inspect(host, 'data'))?.Status?.id, before?.Status?.id)
  const { stdout } = await host.docker(['plugin', 'inspect', 'wherry', '-f', '{{json .Settings.Env}}'])
  t.true((JSON.parse(stdout) as string[]).includes('WHERRY_MOUNT_DEADLINE=20s'))
  await using agent = agentOf(host)
  t.deepEqual((await agent.health()).notes, [])
})

test.serial('a wrong setting stops the start with one line that says what to write instead', async (t) => {
  t.timeout(300_000)
  await using lab = await Lab.start({ hosts: 1 })
  const host = lab.host(1)
  const failed = await install(
    lab,
    [`state.source=${host.stateDir}`, `docker.source=${host.socket}`, 'WHERRY_LEASE=8'],
    true,
  )
  t.not(failed.code, 0)
  const lines = host
    .engineLog()
    .split('\n')
    .filter((line) => line.includes('Wrong settings'))
  t.true(lines.length > 0)
  t.regex(lines[0] ?? '', /WHERRY_LEASE must be a time .*for example 8s; it is \\*"8\\*"/)
})

/** The command as it is installed on the host. */
function wherry(lab: Lab, ...args: string[]) {
  return lab.host(1).exec([WHERRY, ...args], { env: engineOf(lab), allowFailure: true })
}

function engineOf(lab: Lab) {
  return { DOCKER_HOST: `unix://${lab.host(1).socket}`, PATH: lab.engine.path }
}

/** Runs scripts/install as someone on the host would. */
function install(lab: Lab, settings: string[], allowFailure = false) {
  return run('scripts/install', settings, { env: engineOf(lab), allowFailure })
}
