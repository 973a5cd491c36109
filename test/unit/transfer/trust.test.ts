import { cp, mkdir, rename } from 'node:fs/promises'
import { type AddressInfo, connect as connectTcp, createServer } from 'node:net'
import { join } from 'node:path'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import test from 'ava'
import type { Identity } from '../../../agent/host/certificates.ts'
import { WherryError } from '../../../agent/model/errors.ts'
import { createPuller } from '../../../agent/transfer/receive/puller.ts'
import { serveTransfer } from '../../../agent/transfer/send/server.ts'
import { untilTrue } from '../until.ts'
import {
  certs,
  expired,
  HOST,
  identityIn,
  LIVE,
  neverAborted,
  noise,
  rawIdentity,
  recorder,
  transferDirectory,
} from './kit.ts'
import { MemoryReader, MemoryWriter } from './memory-tree.ts'

/** Two clusters' certificates and a server of the first; counts how often its source is asked. */
async function cluster(serverIdentity?: (ours: Identity, dir: string) => Promise<Identity>) {
  await using stack = new AsyncDisposableStack()
  const { dir } = stack.use(await transferDirectory())
  const { log, lines } = recorder()
  const ours = stack.use(await identityIn(await certs(join(dir, 'ours'), '10.9.9.9', HOST), log))
  const theirs = stack.use(await identityIn(await certs(join(dir, 'theirs'), HOST), log))
  const identity = (await serverIdentity?.(ours, join(dir, 'ours'))) ?? ours
  const asked = { times: 0 }
  const source = async () => {
    asked.times += 1
    return new MemoryReader([noise(1_000)])
  }
  const server = stack.use(await serveTransfer({ host: HOST, port: 0, identity, source, log }))
  const pull = (as: Identity) =>
    createPuller({ identity: as, log }).pull(
      { address: HOST, port: server.port },
      LIVE,
      new MemoryWriter(),
      neverAborted(),
    )
  const all = stack.move()
  return { dir, log, lines, ours, theirs, asked, server, pull, [Symbol.asyncDispose]: () => all.disposeAsync() }
}

/** Connects with TLS options of its own; answers how it ended. */
async function dialRaw(port: number, options: ConnectionOptions): Promise<string> {
  const socket = connectTls({ host: HOST, port, ...options })
  return new Promise((resolve) => {
    socket.on('error', (error) => resolve(error.message))
    socket.on('close', () => resolve('closed'))
    socket.on('data', () => resolve('served'))
  })
}

test('a server of another CA is refused, and the error says where to look', async (t) => {
  await using set = await cluster()
  const error = await t.throwsAsync(set.pull(set.theirs), { code: 'TLS_REFUSED', instanceOf: WherryError })
  t.true(error?.message.includes(`${HOST}:${set.server.port}`))
  t.true(error?.hint?.includes(set.theirs.paths.ca))
  t.is(set.asked.times, 0)
})

test('an asker with a certificate of another CA is refused, told so, and named in the log of the source', async (t) => {
  await using set = await cluster()
  const mixed = rawIdentity({ ...set.theirs.current(), ca: set.ours.current().ca })
  const error = await t.throwsAsync(set.pull(mixed), { code: 'TLS_REFUSED', instanceOf: WherryError })
  t.true(error?.hint?.includes('/tls/cert.pem'))
  await untilTrue(() => set.lines.some((line) => line.includes('its certificate was refused')))
  t.is(set.asked.times, 0)
})

test('an asker without a certificate gets nothing', async (t) => {
  await using set = await cluster()
  t.not(await dialRaw(set.server.port, { ca: set.ours.current().ca }), 'served')
  t.is(await dialRaw(set.server.port, set.ours.current()), 'served', 'the same with one is served')
})

test('TLS older than 1.3 is refused', async (t) => {
  await using set = await cluster()
  t.not(await dialRaw(set.server.port, { ...set.ours.current(), maxVersion: 'TLSv1.2' }), 'served')
})

test('an expired certificate is refused on either side', async (t) => {
  await using set = await cluster()
  const old = rawIdentity(await expired(join(set.dir, 'ours')))
  await t.throwsAsync(set.pull(old), { code: 'TLS_REFUSED' })
  t.is(set.asked.times, 0)
  await using late = await cluster(async (_ours, dir) => rawIdentity(await expired(dir)))
  await t.throwsAsync(late.pull(late.ours), { code: 'TLS_REFUSED', message: /expired/ })
})

test('a server whose certificate is for another address is refused', async (t) => {
  await using set = await cluster(async (ours, dir) => {
    const { log } = recorder()
    const { openIdentity } = await import('../../../agent/host/certificates.ts')
    await using other = await openIdentity({ dir: join(dir, '10.9.9.9'), address: '10.9.9.9', log })
    return rawIdentity({ ...other.current(), ca: ours.current().ca })
  })
  await t.throwsAsync(set.pull(set.ours), { code: 'TLS_REFUSED', message: /10\.9\.9\.9/ })
})

test('a plaintext client is closed and harms nobody', async (t) => {
  await using set = await cluster()
  const socket = connectTcp(set.server.port, HOST)
  const answer: Buffer[] = []
  socket.on('data', (data: Buffer) => answer.push(data))
  socket.on('error', () => {})
  socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
  await new Promise((resolve) => socket.on('close', resolve))
  t.false(Buffer.concat(answer).includes('HTTP'))
  t.true((await set.pull(set.ours)).complete)
  t.is(set.asked.times, 1)
})

test('a server that speaks no TLS is refused', async (t) => {
  await using set = await cluster()
  const plain = createServer((socket) =>
    socket
      .on('error', () => {})
      .resume()
      .end('220 mail.example.org ready\r\n'),
  )
  await new Promise<void>((resolve) => plain.listen(0, HOST, resolve))
  const port = (plain.address() as AddressInfo).port
  const pulled = createPuller({ identity: set.ours, log: set.log }).pull(
    { address: HOST, port },
    LIVE,
    new MemoryWriter(),
    neverAborted(),
  )
  await t.throwsAsync(pulled, { code: 'TLS_REFUSED' })
  await new Promise((resolve) => plain.close(resolve))
})

test('a client that says nothing is closed after 2 seconds', async (t) => {
  await using set = await cluster()
  const started = Date.now()
  const socket = connectTcp(set.server.port, HOST)
  socket.on('error', () => {})
  socket.resume()
  await new Promise((resolve) => socket.on('close', resolve))
  const seconds = (Date.now() - started) / 1_000
  t.true(seconds > 1.5 && seconds < 5, `${seconds} s`)
})

test('a server that never answers the handshake is given up after 5 seconds', async (t) => {
  await using set = await cluster()
  await using stack = new AsyncDisposableStack()
  const mute = createServer((socket) => void stack.defer(() => void socket.destroy()))
  await new Promise<void>((resolve) => mute.listen(0, HOST, resolve))
  stack.defer(() => void mute.close())
  const port = (mute.address() as AddressInfo).port
  const pulled = createPuller({ identity: set.ours, log: set.log }).pull(
    { address: HOST, port },
    LIVE,
    new MemoryWriter(),
    neverAborted(),
  )
  await t.throwsAsync(pulled, { code: 'TRANSFER_CUT', message: /no reply within 5 s after TCP had connected .*MTU/ })
})

test('certificates replaced while running count for new connections; a copy that runs goes on', async (t) => {
  const hold = Promise.withResolvers<void>()
  await using place = await transferDirectory()
  const { log } = recorder()
  const tls = join(place.dir, 'tls')
  const oldDir = await certs(join(place.dir, 'old'), HOST)
  await cp(oldDir, tls, { recursive: true })
  await using live = await identityIn(tls, log)
  await using before = await identityIn(oldDir, log)
  await using after = await identityIn(await certs(join(place.dir, 'new'), HOST), log)
  const source = async () => new MemoryReader([noise(3_000_000)])
  await using server = await serveTransfer({ host: HOST, port: 0, identity: live, source, log })
  const from = { address: HOST, port: server.port }
  const slow = new MemoryWriter()
  slow.beforeWrite = () => hold.promise
  const running = createPuller({ identity: before, log }).pull(from, LIVE, slow, neverAborted())
  await untilTrue(() => slow.begins === 1)

  const changed = new Promise<void>((resolve) => live.onChange(resolve))
  for (const name of ['ca.pem', 'cert.pem', 'key.pem']) {
    await cp(join(place.dir, 'new', HOST, name), join(tls, `${name}.part`))
    await rename(join(tls, `${name}.part`), join(tls, name))
  }
  await changed
  t.true((await createPuller({ identity: after, log }).pull(from, LIVE, new MemoryWriter(), neverAborted())).complete)
  await t.throwsAsync(createPuller({ identity: before, log }).pull(from, LIVE, new MemoryWriter(), neverAborted()), {
    code: 'TLS_REFUSED',
  })
  hold.resolve()
  t.true((await running).complete)
})

test('the puller uses replaced certificates for its next pull', async (t) => {
  await using set = await cluster()
  const tls = join(set.dir, 'tls')
  await mkdir(tls)
  await cp(join(set.dir, 'theirs', HOST), tls, { recursive: true })
  await using live = await identityIn(tls, set.log)
  await t.throwsAsync(set.pull(live), { code: 'TLS_REFUSED' })
  const changed = new Promise<void>((resolve) => live.onChange(resolve))
  await cp(join(set.dir, 'ours', HOST), tls, { recursive: true })
  await changed
  t.true((await set.pull(live)).complete)
})
