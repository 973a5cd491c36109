import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { z } from 'zod'
import { NatsBus } from '../../../agent/bus/bus.ts'
import { clientTls, type Endpoint } from '../../../agent/bus/endpoint.ts'
import { connect, type NatsConnection, NatsError } from '../../../agent/bus/nats.ts'
import { ownEndpoint } from '../../../agent/bus/plan.ts'
import { JetStreamRegistry } from '../../../agent/registry/registry.ts'
import { readyRegistry, removedRecord, volumeRecord } from '../registry/records.ts'
import { TestCluster } from './cluster.ts'
import { certificates, eventually, freePorts, natsServer, recordingLog, scratch, type TestHost } from './server.ts'

const SERVER = '127.0.0.1'
const CLIENT = '127.0.0.6'
const STREAMS = ['KV_wherry_volumes', 'KV_wherry_removed', 'KV_wherry_hosts']

/** What no host may do. */
const NOBODY = [
  ...STREAMS.flatMap((name) =>
    ['STREAM.DELETE', 'STREAM.PURGE', 'STREAM.LEADER.STEPDOWN', 'STREAM.SNAPSHOT'].map((verb) => `${verb}.${name}`),
  ).map((call) => `$JS.API.${call}`),
  ...STREAMS.map((name) => `$JS.API.CONSUMER.CREATE.${name}`),
  '$JS.API.STREAM.MSG.DELETE.KV_wherry_hosts',
  '$JS.API.STREAM.CREATE.other',
  '$JS.API.STREAM.RESTORE.KV_wherry_volumes',
  '$JS.API.META.LEADER.STEPDOWN',
  '$JS.API.SERVER.REMOVE',
  '$SYS.REQ.SERVER.PING',
  '$KV.other.key',
  '$KV.wherry_hosts.a.b',
  'wherry.v1.registry.volumes.data',
  '_INBOX.127_0_0_1.forged',
]
/** What only hosts that run servers may do. */
const MANAGERS = STREAMS.flatMap((name) => [`$JS.API.STREAM.CREATE.${name}`, `$JS.API.STREAM.UPDATE.${name}`])
const EAVESDROPPING = ['>', '_INBOX.>', '_INBOX.127_0_0_1.>', '$KV.>', '$JS.API.>', '$SYS.>']

async function dial(endpoint: Endpoint): Promise<NatsConnection> {
  return await connect({
    servers: [...endpoint.servers],
    tls: clientTls(endpoint),
    inboxPrefix: endpoint.inbox ?? '',
    waitOnFirstConnect: true,
    ignoreAuthErrorAbort: true,
  })
}

/** Whether the server lets a client publish there. A reply, none, or an error of the API all mean yes. */
async function mayPublish(connection: NatsConnection, subject: string): Promise<boolean> {
  const error = await connection.request(subject, '{', { timeout: 1_000 }).then(
    () => null,
    (cause: unknown) => cause,
  )
  return !(error instanceof NatsError && error.code === 'PERMISSIONS_VIOLATION')
}

async function mayListen(connection: NatsConnection, subject: string): Promise<boolean> {
  const refused = Promise.withResolvers<boolean>()
  connection.subscribe(subject, { callback: (error) => error !== null && refused.resolve(false) })
  await connection.flush()
  return await Promise.race([refused.promise, connection.flush().then(() => true)])
}

async function allowed(subjects: readonly string[], may: (subject: string) => Promise<boolean>): Promise<string[]> {
  const found: string[] = []
  for (const subject of subjects) if (await may(subject)) found.push(subject)
  return found
}

/** Six hosts, of which five run servers. */
async function start(which: 'newest' | 'older') {
  const binary = await natsServer(which)
  const cluster = await TestCluster.create(6)
  const hosts = await Promise.all(cluster.addresses.map((address) => cluster.start(address, { binary })))
  const byAddress = (address: string) => hosts.find((host) => host.address === address) as TestHost
  return { cluster, hosts, binary, server: byAddress(SERVER), client: byAddress(CLIENT) }
}

for (const which of ['newest', 'older'] as const) {
  test(`security: a host's certificate writes Wherry's records and nothing else, and joins no server (${which} nats-server)`, async (t) => {
    const { cluster, server, client, binary } = await start(which)
    await using _ = cluster
    await using _first = await readyRegistry(server)
    await using registry = await readyRegistry(client)

    const added = await registry.addVolume(volumeRecord('data'))
    if (added.outcome !== 'done') return t.fail(added.outcome)
    t.is((await registry.deleteVolume('data', added.entry.revision)).outcome, 'done')
    t.is((await registry.addRemoved(removedRecord('x'))).outcome, 'done')
    const heard: unknown[] = []
    client.bus.subscribe('hint.x', (message) => void heard.push(message), new AbortController().signal)
    // The servers tell each other of a subscription in their own time; a message before that is lost.
    await eventually('a message', () => {
      server.bus.publish('hint.x', { hello: true })
      return heard.length > 0
    })
    t.deepEqual(heard[0], { hello: true })

    const asClient = await dial(client.embedded.endpoint)
    const asServer = await dial(server.embedded.endpoint)
    try {
      const tries = [...NOBODY, ...MANAGERS]
      t.deepEqual(await allowed(tries, (subject) => mayPublish(asClient, subject)), [])
      t.deepEqual(await allowed(tries, (subject) => mayPublish(asServer, subject)), MANAGERS)
      t.deepEqual(await allowed(EAVESDROPPING, (subject) => mayListen(asClient, subject)), [])
      t.true(await mayListen(asClient, '_INBOX.127_0_0_6.>'))
    } finally {
      await asClient.close()
      await asServer.close()
    }

    await using intruder = await startIntruder(cluster, binary)
    await eventually('it was refused', () => /rout.*(authentication|authorization)/i.test(intruder.output()))
    const { routes } = ROUTEZ.parse(await server.embedded.monitor('/routez', 5_000))
    t.true(routes.length > 0)
    t.false(routes.some(({ remote_name }) => remote_name === 'intruder'))
  })
}

test('security: the rights that docs/security.md gives a host in a NATS of your own are those of an embedded one, and suffice', async (t) => {
  const page = await readFile(join(import.meta.dirname, '../../../docs/security.md'), 'utf8')
  const permissions = /```\n(permissions \{.*?)```/s.exec(page)?.[1] ?? t.fail('no example')
  await using made = await scratch()
  const [port = 0] = await freePorts(1)
  const path = join(made.dir, 'own.conf')
  const user = `user: host, password: secret, ${permissions}`
  await writeFile(
    path,
    `listen: "127.0.0.1:${port}"\njetstream { store_dir: "${made.dir}/js" }\nauthorization { users: [ { ${user} } ] }`,
  )
  await using _server = startServer(await natsServer(), path)
  const endpoint = ownEndpoint([`nats://host:secret@127.0.0.1:${port}`], '10.0.0.1', { ca: '', cert: '', key: '' })
  const { log } = recordingLog()
  await using bus = new NatsBus({ endpoint, name: 'own', log })
  await using registry = new JetStreamRegistry({ bus, replicas: 1, oldStore: null, manages: true, seals: null, log })
  const added = await eventually('a record', async () => await registry.addVolume(volumeRecord('data')))
  if (added.outcome !== 'done') return t.fail(added.outcome)
  t.is((await registry.deleteVolume('data', added.entry.revision)).outcome, 'done')
  const connection = await connect({
    servers: [...endpoint.servers],
    user: 'host',
    pass: 'secret',
    inboxPrefix: endpoint.inbox ?? '',
  })
  t.deepEqual(await allowed([...NOBODY, ...MANAGERS], (subject) => mayPublish(connection, subject)), MANAGERS)
  t.deepEqual(await allowed(EAVESDROPPING, (subject) => mayListen(connection, subject)), [])
  await connection.close()
})

const ROUTEZ = z.object({ routes: z.array(z.object({ remote_name: z.string().optional() })).default([]) })

/** A nats-server that a host without one runs with its own certificate, to join the registry. */
async function startIntruder(cluster: TestCluster, binary: string): Promise<{ output(): string } & AsyncDisposable> {
  const { ca, cert, key } = cluster.tls[CLIENT] ?? { ca: '', cert: '', key: '' }
  const [clientPort, clusterPort] = cluster.ports
  const path = join(cluster.dir, 'intruder.conf')
  await writeFile(
    path,
    `server_name: intruder
    listen: "${CLIENT}:${clientPort}"
    jetstream { store_dir: "${join(cluster.dir, 'intruder')}" }
    cluster {
      name: wherry, listen: "${CLIENT}:${clusterPort}", routes: ["tls://${SERVER}:${clusterPort}"]
      tls { ca_file: "${ca}", cert_file: "${cert}", key_file: "${key}", verify: true }
    }`,
  )
  return startServer(binary, path)
}

function startServer(binary: string, path: string): { output(): string } & AsyncDisposable {
  const child = spawn(binary, ['-c', path], { stdio: ['ignore', 'ignore', 'pipe'] })
  let printed = ''
  child.stderr.on('data', (chunk: Buffer) => {
    printed += chunk.toString()
  })
  return {
    output: () => printed,
    async [Symbol.asyncDispose]() {
      const ended = once(child, 'exit')
      child.kill('SIGKILL')
      await ended
    },
  }
}

test('security: a certificate of our CA whose address is not in WHERRY_PEERS gets nothing, and is told why', async (t) => {
  await using cluster = await TestCluster.create(2)
  const server = await cluster.start(SERVER)
  await eventually('a connection', () => server.bus.state().connected)
  const stranger = (await certificates(join(cluster.dir, 'certs'), ['127.0.0.9']))['127.0.0.9']
  const endpoint = { ...server.embedded.endpoint, tls: stranger ?? null }
  await using bus = new NatsBus({ endpoint, name: 'stranger', log: recordingLog().log })
  await eventually('the refusal', () => /refuses this host: .*Authorization.*WHERRY_PEERS/.test(bus.state().detail))
  t.false(bus.state().connected)
})
