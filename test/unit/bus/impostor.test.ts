import { once } from 'node:events'
import { readFile, stat } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createServer as createTlsServer } from 'node:tls'
import test from 'ava'
import { portOf } from '../../../agent/bus/endpoint.ts'
import { writeLoopbackCertificate } from '../../../agent/bus/loopback-certificate.ts'
import { codeOf } from '../../../agent/model/errors.ts'
import { readyRegistry, volumeRecord } from '../registry/records.ts'
import { eventually, natsServer, scratch, serverPid, startHost } from './server.ts'

const INFO = { server_id: 'X', version: '2.15.1', proto: 1, max_payload: 1_048_576, headers: true, jetstream: true }

/** Plays a server: says INFO, keeps what it gets, and confirms everything. */
function play(socket: Socket, heard: Buffer[]): void {
  socket.on('error', () => undefined)
  socket.on('data', (chunk: Buffer) => {
    heard.push(chunk)
    socket.write('PONG\r\n')
  })
  socket.write(`INFO ${JSON.stringify(INFO)}\r\n`)
}

/** Takes a port as soon as it is free. */
async function take(server: Server, port: number): Promise<void> {
  for (;;) {
    const taken = Promise.race([once(server, 'listening').then(() => true), once(server, 'error').then(() => false)])
    server.listen(port, '127.0.0.1')
    if (await taken.catch(() => false)) return
    await sleep(5)
  }
}

for (const which of ['newest', 'tooOld'] as const) {
  for (const how of ['in plain text', 'with a certificate of its own'] as const) {
    test(`security: a process that takes the port of a single host's registry, ${how}, gets no password and is not believed (${which} nats-server)`, async (t) => {
      await using state = await scratch()
      await using host = await startHost({ stateDir: state.dir, binary: await natsServer(which) })
      await using registry = await readyRegistry(host)
      t.is((await registry.addVolume(volumeRecord('data'))).outcome, 'done')
      const { servers, login } = host.embedded.endpoint
      const password = login !== null && 'password' in login ? login.password : t.fail()

      const heard: Buffer[] = []
      let dialled = 0
      const accept = (socket: Socket) => {
        dialled++
        play(socket, heard)
      }
      const { cert, key } = await writeLoopbackCertificate(state.dir, 'impostor')
      const files = { cert: await readFile(cert), key: await readFile(key) }
      const impostor = how === 'in plain text' ? createServer(accept) : createTlsServer(files, accept)
      const sockets = new Set<Socket>()
      impostor.on('connection', (socket: Socket) => {
        dialled++
        sockets.add(socket)
      })
      impostor.on('tlsClientError', () => undefined)
      process.kill(serverPid(host), 'SIGKILL')
      await take(impostor, portOf(servers[0] ?? ''))
      await eventually('it is dialled three times', () => dialled > 2)
      t.false(host.bus.state().connected)
      t.is(codeOf(await t.throwsAsync(registry.volume('data'))), 'REGISTRY_UNAVAILABLE')
      t.false(Buffer.concat(heard).includes(password))
      t.false(Buffer.concat(heard).includes('CONNECT'))

      impostor.close()
      for (const socket of sockets) socket.destroy()
      await eventually('the registry is back', async () => (await registry.volume('data'))?.value.name === 'data')
    })
  }
}

test('the key of a single host is readable by root only', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  for (const name of ['nats.conf', 'single-key.pem']) {
    await eventually(name, () => stat(join(state.dir, 'nats', name)))
    t.is((await stat(join(state.dir, 'nats', name))).mode & 0o777, 0o600)
  }
  t.is((await stat(join(state.dir, 'nats'))).mode & 0o777, 0o700)
  await eventually('a connection', () => host.bus.state().connected)
})
