import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { agentOf, onLab, treeOf } from './fixture.ts'
import type { Host } from './harness/host.ts'
import type { Lab } from './harness/lab.ts'
import { until } from './harness/poll.ts'
import { changeSwarm } from './harness/swarm.ts'

const test = onLab({ swarm: true }, {})

const WITNESS = fileURLToPath(new URL('../fixtures/witness.ts', import.meta.url))
const LISTENER = fileURLToPath(new URL('../fixtures/listener.ts', import.meta.url))
const NATS_PORT = 7451
const WITNESS_ADDRESS = '10.88.0.254'
const WITNESS_PORT = 7000

/** Appends numbered lines, syncs each to disk, and only then tells the witness. */
const WRITER = `
trap 'exit 0' TERM
n=$(wc -l </data/log 2>/dev/null || echo 0)
while :; do
  n=$((n+1)); echo "$n $HOSTNAME" | dd of=/data/log oflag=append conv=notrunc,fsync 2>/dev/null && echo "$n" | nc -w 2 ${WITNESS_ADDRESS} ${WITNESS_PORT}
  sleep 0.02
done`

test.serial(
  'promise 3: a Swarm service that is drained from host to host twice loses no line it reported',
  async (t) => {
    t.timeout(240_000)
    const { lab, h1, image } = t.context
    const reported = await witness(lab)
    const news = await listen(lab)
    const mount = 'type=volume,source=ledger,destination=/data,volume-driver=wherry'
    const common = ['--name', 'writer', '--network', 'host', '--mount', mount, '--detach', '--no-resolve-image']
    await changeSwarm(h1, ['service', 'create', ...common, image, 'sh', '-c', WRITER])
    const first = await holderOf(lab, null)
    await until('the first lines', () => reported.size >= 50)
    const second = await drain(lab, first, reported)
    const third = await drain(lab, second, reported)
    t.is(new Set([first, second, third]).size >= 2, true)
    t.not(first, second)
    t.not(second, third)

    await changeSwarm(h1, ['service', 'rm', 'writer'])
    await until('the volume is idle', async () => {
      await using agent = agentOf(h1)
      return (await agent.get('ledger')).holder === null
    })
    const log = await readFile(`${await treeOf(third, 'ledger')}/log`, 'utf8')
    const numbers = log
      .trimEnd()
      .split('\n')
      .map((line) => Number.parseInt(line, 10))
    t.deepEqual(
      numbers,
      numbers.map((_, index) => index + 1),
      'one unbroken line of writers',
    )
    const missing = [...reported].filter((number) => number > numbers.length)
    t.deepEqual(missing, [], `${reported.size} lines were reported`)
    t.true(reported.size > 150)

    await using agent = agentOf(third)
    const moves = (await agent.moves()).filter(({ volume }) => volume === 'ledger')
    t.true(
      moves.some(({ state }) => state === 'done'),
      JSON.stringify(moves),
    )
    const subjects = (pattern: RegExp) => news.filter(({ subject }) => pattern.test(subject))
    t.true(subjects(/^wherry\.v1\.container\./).some(({ message }) => message.action === 'start'))
    t.true(subjects(/^wherry\.v1\.schedule\.node$/).length > 0, 'a node was drained')
    t.true(subjects(/^wherry\.v1\.schedule\.task$/).some(({ message }) => message.volume === 'ledger'))
    const thirdId = (await agent.health()).hostId
    t.true(news.some(({ subject }) => subject === `wherry.v1.hint.${thirdId}`))
    t.regex(third.engineLog(), /a task with this volume was put here: bringing its data/, 'the hint was followed')
  },
)

interface News {
  readonly subject: string
  readonly message: Record<string, unknown>
}

/** Listens to what the agents tell each other; answers the growing list. */
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

/** Starts the witness; answers the growing set of numbers it heard. */
async function witness(lab: Lab): Promise<Set<number>> {
  const heard = new Set<number>()
  const child = lab.spawn([process.execPath, WITNESS, String(WITNESS_PORT)])
  if (child.stdout === null) throw new Error('the witness has no output')
  let listening = false
  createInterface(child.stdout).on('line', (line) => {
    if (line === 'listening') listening = true
    else heard.add(Number(line))
  })
  await until('the witness listens', () => listening)
  return heard
}

/** Drains the node; answers the host the service runs on afterwards, once it reports lines again. */
async function drain(lab: Lab, from: Host, reported: ReadonlySet<number>): Promise<Host> {
  const manager = lab.hosts.find((host) => host !== from) ?? from
  await changeSwarm(manager, ['node', 'update', '--availability', 'drain', from.name])
  const to = await holderOf(lab, from)
  const before = reported.size
  await until('lines from the new host', () => reported.size >= before + 50)
  await changeSwarm(manager, ['node', 'update', '--availability', 'active', from.name])
  return to
}

async function holderOf(lab: Lab, not: Host | null): Promise<Host> {
  return until(
    'the service holds the volume',
    async () => {
      await using agent = agentOf(lab.host(1))
      const holder = (await agent.get('ledger')).holder
      if (holder === null || holder.host === not?.name || holder.containers.length === 0) return null
      return lab.hosts.find(({ name }) => name === holder.host)
    },
    { timeoutMs: 90_000 },
  )
}
