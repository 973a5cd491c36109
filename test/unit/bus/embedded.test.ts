import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from 'node:tls'
import test, { type ExecutionContext } from 'ava'
import { z } from 'zod'
import { NatsBus } from '../../../agent/bus/bus.ts'
import { lockStore } from '../../../agent/bus/store-lock.ts'
import { codeOf } from '../../../agent/model/errors.ts'
import { readyRegistry } from '../registry/records.ts'
import { TestCluster } from './cluster.ts'
import {
  certificates,
  eventually,
  freeze,
  recordingLog,
  scratch,
  serverPid,
  startHost,
  type TestHost,
  tlsFiles,
} from './server.ts'

/** What a server says of its connections to others. */
const ROUTEZ = z.object({ routes: z.array(z.object({ remote_name: z.string() })).default([]) })

/** False for a zombie too: who adopted the orphan may take its time to bury it. */
async function isAlive(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  return stat !== '' && !/\) Z /.test(stat)
}

/** A process with a server as an agent has it, on this state directory, and that server's pid. */
async function startOrphan(t: ExecutionContext, stateDir: string): Promise<{ parent: ChildProcess; orphan: number }> {
  const parent = spawn(process.execPath, [join(import.meta.dirname, 'orphan-parent.ts'), stateDir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => parent.kill('SIGKILL'))
  const [line] = await once(createInterface({ input: parent.stdout }), 'line')
  return { parent, orphan: Number(line) }
}

test('promise 11: a server that a killed agent left behind is ended, and its records are there', async (t) => {
  await using state = await scratch()
  const { parent, orphan } = await startOrphan(t, state.dir)
  t.true(await isAlive(orphan))

  const { log } = recordingLog()
  const dir = join(state.dir, 'nats')
  const refused = await t.throwsAsync(lockStore(join(dir, 'lock'), dir, log))
  t.is(codeOf(refused), 'STATE_LOCKED')
  t.regex(refused?.message ?? '', new RegExp(`process ${parent.pid}`))
  t.true(await isAlive(orphan))

  parent.kill('SIGKILL')
  await once(parent, 'exit')
  t.true(await isAlive(orphan))
  await using host = await startHost({ stateDir: state.dir })
  t.false(await isAlive(orphan))
  await using registry = await readyRegistry(host)
  t.is((await registry.volume('kept'))?.value.name, 'kept')
})

test('a server that a killed agent left behind ends as it is asked to, handing its leaderships over: it does not die of its next line', async (t) => {
  await using state = await scratch()
  const { parent, orphan } = await startOrphan(t, state.dir)
  parent.kill('SIGKILL')
  await once(parent, 'exit')
  process.kill(orphan, 'SIGTERM')
  await eventually('its end', async () => !(await isAlive(orphan)))
  const printed = await readFile(join(state.dir, 'nats', 'nats.log'), 'utf8')
  t.regex(printed, /Initiating JetStream Shutdown.*Server Exiting/s)
})

test('a server that cannot start is tried again, and the state says why', async (t) => {
  await using state = await scratch()
  await mkdir(join(state.dir, 'nats'), { recursive: true })
  await writeFile(join(state.dir, 'nats', 'single'), 'in the way')
  await using host = await startHost({ stateDir: state.dir, logLevel: 'debug' })
  const starts = () => host.lines.filter(({ msg }) => msg === 'nats-server started').length
  await eventually('a reason', () => /exit code 1.*not a directory/.test(host.embedded.state()?.detail ?? ''))
  t.regex(host.bus.state().detail, /0 of 1 nats-servers reachable|not connected/)
  const ends = () => host.lines.filter(({ msg }) => msg === 'nats-server ended: restarting it').length
  await eventually('a third attempt', () => {
    // Each attempt runs for a moment: the reason stays.
    t.regex(host.embedded.state()?.trouble ?? '', /exit code 1/)
    return ends() >= 3
  })
  t.is(starts(), 2, 'attempts that fail as before are not logged')
  await rm(join(state.dir, 'nats', 'single'))
  await eventually('a server that runs', () => host.embedded.state()?.trouble === null)
  await eventually('the log says so', () => starts() === 3)
})

test('loopback is shared by all users of a machine: without the password nobody gets in', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  await eventually('a connection', () => host.bus.state().connected)
  const config = await readFile(join(state.dir, 'nats', 'nats.conf'), 'utf8')
  t.regex(config, /sync_interval: always/)
  t.is(await eventually('health', async () => (await host.embedded.problem()) ?? 'well'), 'well')
  const { log } = recordingLog()
  const stranger = new NatsBus({ endpoint: { ...host.embedded.endpoint, login: null }, name: 'stranger', log })
  await eventually('the refusal', () => /it refuses this host: .*Authorization/.test(stranger.state().detail))
  t.false(stranger.state().connected)
  await stranger[Symbol.asyncDispose]()
})

test('between hosts only certificates of our CA get in, and the error says whose certificate is wrong', async (t) => {
  await using cluster = await TestCluster.create(2)
  const [one, two] = cluster.addresses as [string, string]
  await using first = await startHost(cluster.options(one))
  await eventually('a connection', () => first.bus.state().connected)
  const foreign = await certificates(join(cluster.dir, 'foreign'), [two])
  const host = await startHost(cluster.options(two, { tls: foreign[two] ?? tlsFiles('') }))
  const reason =
    /127\.0\.0\.1:\d+: its certificate is not good: it is of another CA .*make the certificates of all hosts/
  try {
    await eventually('the reason', () => reason.test(host.bus.state().detail))
  } finally {
    await host[Symbol.asyncDispose]()
  }
  // A client that trusts our CA but shows a foreign certificate: here the server refuses.
  const mixedDir = join(cluster.dir, 'mixed')
  await mkdir(mixedDir)
  const mixed = tlsFiles(mixedDir)
  await copyFile(cluster.tls[two]?.ca ?? '', mixed.ca)
  await copyFile(foreign[two]?.cert ?? '', mixed.cert)
  await copyFile(foreign[two]?.key ?? '', mixed.key)
  const { log } = recordingLog()
  const bus = new NatsBus({ endpoint: { ...first.embedded.endpoint, tls: mixed }, name: 'mixed', log })
  await eventually('the refusal', () => /127\.0\.0\.1:\d+: it refuses this host's certificate/.test(bus.state().detail))
  await bus[Symbol.asyncDispose]()
  t.pass()
})

test('new certificates are taken while running, without a restart', async (t) => {
  await using cluster = await TestCluster.create(2)
  const [one] = cluster.addresses as [string]
  const tlsDir = join(cluster.dir, 'tls')
  await mkdir(tlsDir)
  const tls = tlsFiles(tlsDir)
  const install = async (from: string) => {
    for (const name of ['ca.pem', 'cert.pem', 'key.pem']) await copyFile(join(from, name), join(tlsDir, name))
  }
  await install(join(cluster.dir, 'certs', one))
  await using host = await startHost(cluster.options(one, { tls }))
  await eventually('a connection', () => host.bus.state().connected)
  const pid = serverPid(host)
  const before = await fingerprintOf(one, cluster.ports[0], tls)
  const other = await certificates(join(cluster.dir, 'other'), [one])
  await sleep(100)
  await install(join(other[one]?.cert ?? '', '..'))
  const after = await eventually('another certificate', async () => {
    const now = await fingerprintOf(one, cluster.ports[0], tls)
    return now === before ? null : now
  })
  t.not(after, before)
  t.is(serverPid(host), pid)
})

async function fingerprintOf(
  host: string,
  port: number,
  tls: { ca: string; cert: string; key: string },
): Promise<string> {
  const [cert, key] = await Promise.all([readFile(tls.cert), readFile(tls.key)])
  const socket = connect({ host, port, cert, key, rejectUnauthorized: false })
  socket.on('error', () => {})
  await once(socket, 'secureConnect')
  const { fingerprint256 } = socket.getPeerCertificate()
  socket.destroy()
  return fingerprint256
}

test('a server that was away when the client first connected is still one to fall back to', async (t) => {
  await using cluster = await TestCluster.create(2)
  const [one, two] = cluster.addresses as [string, string]
  const second = await cluster.start(two)
  const servers = [one, two].map((address) => `${address}:${cluster.ports[0]}`)
  const { log } = recordingLog()
  await using bus = new NatsBus({ endpoint: { ...second.embedded.endpoint, servers }, name: 'client', log })
  await eventually('a connection', () => bus.state().detail.includes(`connected to ${two}`))
  await cluster.start(one)
  await second[Symbol.asyncDispose]()
  t.true(await eventually('the other server', () => bus.state().detail.includes(`connected to ${one}`)))
})

test('promise 6: a server that is killed while it is asked does not run: that is no silence, which would keep a lease from running on', async (t) => {
  for (let round = 0; round < 5; round++) {
    await using state = await scratch()
    await using host = await startHost({ stateDir: state.dir })
    t.truthy(await eventually('an answer', () => host.embedded.monitor('/jsz', 1_000)))
    const pid = serverPid(host)
    await freeze(pid)
    const asked = host.embedded.monitor('/jsz', 10_000)
    await sleep(20 * round)
    process.kill(pid, 'SIGKILL')
    // A new one may answer in its place.
    await t.notThrowsAsync(asked)
  }
})

test('a connection between servers that the network has cut is opened anew, not left to TCP', async (t) => {
  await using cluster = await TestCluster.create(3)
  const [first, second] = (await cluster.startAll()) as [TestHost, TestHost]
  const routesTo = async (host: TestHost) => {
    const { routes } = ROUTEZ.parse(await first.embedded.monitor('/routez', 900))
    return routes.filter(({ remote_name }) => remote_name === `wherry-${host.address}`).length
  }
  await eventually('a connection', async () => (await routesTo(second)) > 0)
  // Its sockets stay open, and it answers nothing more: a minute and a half of patience would be nats-server's own.
  const pid = serverPid(second)
  await freeze(pid)
  try {
    await eventually('its connections are given up', async () => (await routesTo(second)) === 0)
  } finally {
    process.kill(pid, 'SIGCONT')
  }
  await eventually('a connection again', async () => (await routesTo(second)) > 0)
  t.is(serverPid(second), pid)
})

test('a server that is away for a while is one line when it goes and one when it returns', async (t) => {
  await using cluster = await TestCluster.create(3)
  const [one = '', two = '', three = ''] = cluster.addresses
  const staying = await cluster.start(one, { logLevel: 'info' })
  const [leaving] = await Promise.all([cluster.start(two), cluster.start(three)])
  const printed = () => readFile(join(cluster.dir, one, 'nats/nats.log'), 'utf8')
  const about = (from: number) => staying.lines.slice(from).filter(({ server }) => server === two)
  const returns = (from: number) => about(from).filter(({ msg }) => msg === 'registry server reached again').length
  // At the start it tried it too. And only once its own attempt made a route does it keep trying a lost one.
  const made = new RegExp(`${two}:\\d+ - rid:\\d+ - Route connection created`)
  await eventually('its routes are made', async () => made.test(await printed()) && returns(0) === 1)
  const from = staying.lines.length
  const failures = async () => (await printed()).match(/Error trying to connect to route/g)?.length ?? 0
  const before = await failures()
  await leaving[Symbol.asyncDispose]()
  await eventually('it was tried often', async () => (await failures()) >= before + 10)
  await cluster.start(two)
  await eventually('its return', () => returns(from) === 1)
  t.deepEqual(
    about(from).map(({ msg }) => msg.split(':')[0]),
    ['registry server not reached', 'registry server reached again'],
  )
  t.true(Number(about(from)[1]?.attempts) >= 10)
  const loud = staying.lines.slice(from).filter(({ msg }) => msg === 'nats-server says')
  t.deepEqual(loud, [], 'nothing else of what it printed')
})
