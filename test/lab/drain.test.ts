import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Host } from '../../lab/host.ts'
import type { Lab } from '../../lab/lab.ts'
import type { Acknowledged } from '../../lab/ledger.ts'
import { until } from '../../lab/poll.ts'
import { changeSwarm } from '../../lab/swarm.ts'
import { keepsContract } from './driver-contract.ts'
import { agentOf, onLab, sleeper, whenAgentReady } from './fixture.ts'
import { childrenOf, entrypointOf, killOverAndOver } from './kill-storm.ts'
import { holderAfter, nothingLost, startWitness, startWriter, stopWriter, VOLUME } from './witness.ts'

const test = onLab({ swarm: true }, {})

const LISTENER = fileURLToPath(new URL('../fixtures/listener.ts', import.meta.url))
const NATS_PORT = 7451

test.serial(
  'promise 3: a Swarm service that is drained from host to host twice loses no line it reported',
  async (t) => {
    t.timeout(240_000)
    const { lab } = t.context
    const heard = await startWitness(t, lab)
    const news = await listen(lab)
    const first = await startWriter(t.context, heard)
    const second = await drain(lab, first, heard)
    const third = await drain(lab, second, heard)
    t.is(new Set([first, second, third]).size >= 2, true)
    t.not(first, second)
    t.not(second, third)

    await stopWriter(t.context)
    await nothingLost(t, third, heard)
    t.true(new Set(heard.map(({ number }) => number)).size > 150)

    await using agent = agentOf(third)
    const moves = (await agent.moves()).filter(({ volume }) => volume === VOLUME)
    t.true(
      moves.some(({ state }) => state === 'done'),
      JSON.stringify(moves),
    )
    const subjects = (pattern: RegExp) => news.filter(({ subject }) => pattern.test(subject))
    t.true(subjects(/^wherry\.v1\.container\./).some(({ message }) => message.action === 'start'))
    t.true(subjects(/^wherry\.v1\.schedule\.node$/).length > 0, 'a node was drained')
    t.true(subjects(/^wherry\.v1\.schedule\.task$/).some(({ message }) => message.volume === VOLUME))
    const thirdId = (await agent.health()).hostId
    t.true(news.some(({ subject }) => subject === `wherry.v1.hint.${thirdId}`))
    t.regex(third.engineLog(), /task scheduled here: pre-seeding its volume/, 'the hint was followed')
  },
)

test.serial(
  'promise 11: a kill loop on plugin, agent and nats-server leaves the plugin enabled and the container running',
  async (t) => {
    const { h1 } = t.context
    await sleeper(h1, t.context, 'storm', 'in-storm')
    const containers = () => h1.docker(['inspect', '-f', '{{.State.Status}} {{.State.StartedAt}}', 'in-storm'])
    const [before, init] = [(await containers()).stdout, entrypointOf(h1)]
    t.regex(before, /^running /)
    for (const everyMs of [0, 300, 1_000, 2_000]) await killOverAndOver(h1, everyMs)
    await whenAgentReady(h1, 3)
    t.is((await h1.docker(['plugin', 'inspect', '-f', '{{.Enabled}}', 'wherry'])).stdout, 'true\n')
    t.is(entrypointOf(h1).pid, init.pid, 'the same container of the plugin')
    // A lease that ran out meanwhile has paused it.
    await until('the container runs as before', async () => (await containers()).stdout === before)
    await until('every orphan is reaped', () => childrenOf(entrypointOf(h1)) === 1)
    await h1.docker(['rm', '-f', 'in-storm'])
  },
)

test.serial('the driver does what Docker asks of every volume driver', keepsContract)

interface News {
  readonly subject: string
  readonly message: Record<string, unknown>
}

/** Listens to what the agents tell each other; returns the growing list. */
async function listen(lab: Lab): Promise<News[]> {
  const news: News[] = []
  const host = lab.host(1)
  const child = lab.spawn([process.execPath, LISTENER, `${host.address}:${NATS_PORT}`, `${host.stateSeen}/tls`])
  if (child.stdout === null) throw new Error('the listener has no output')
  let listening = false
  createInterface(child.stdout).on('line', (line) => {
    if (line === 'listening') listening = true
    else news.push(JSON.parse(line) as News)
  })
  await until('the listener listens', () => listening)
  return news
}

/** Drains the node; returns the host the service runs on afterwards, once it reports lines again. */
async function drain(lab: Lab, from: Host, heard: readonly Acknowledged[]): Promise<Host> {
  const manager = lab.hosts.find((host) => host !== from) ?? from
  await changeSwarm(manager, ['node', 'update', '--availability', 'drain', from.name])
  const to = await holderAfter(lab, VOLUME, from)
  const before = heard.length
  const linesOfNext = () => heard.slice(before).filter(({ host }) => host === to.name)
  await until('lines from the new host', () => linesOfNext().length >= 50)
  await changeSwarm(manager, ['node', 'update', '--availability', 'active', from.name])
  return to
}
