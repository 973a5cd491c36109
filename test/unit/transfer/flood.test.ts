import { readFileSync } from 'node:fs'
import { connect as connectTcp, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import test from 'ava'
import type { QueryHandler } from '../../../agent/transfer/contract.ts'
import { createPuller } from '../../../agent/transfer/receive/puller.ts'
import { createPeers } from '../../../agent/transfer/receive/query-peer.ts'
import { serveTransfer } from '../../../agent/transfer/send/server.ts'
import { CONNECTIONS_MAX } from '../../../agent/transfer/send/tls-listener.ts'
import { untilTrue } from '../until.ts'
import { certs, HOST, LIVE, neverAborted, noise } from './kit.ts'
import { MemoryReader, MemoryWriter } from './memory-tree.ts'
import { ground } from './speaker.ts'

/** Connections that a flood keeps trying to have: more than there are places for hosts. */
const CROWD = 600
/** The ClientHello of a client without a certificate, but for its last bytes. */
const HALF_HELLO = Buffer.concat([Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01]), noise(40)])

/** What a stranger does with one connection, made from address `from`. */
type Stranger = (port: number, from: string) => Socket

const SAYS_NOTHING: Stranger = (port, localAddress) => connectTcp({ port, host: HOST, localAddress })
function says(bytes: string | Buffer): Stranger {
  return (port, localAddress) => {
    const socket = connectTcp({ port, host: HOST, localAddress })
    socket.write(bytes)
    return socket
  }
}
/** Shakes hands without a certificate: refused only at the end of the handshake. */
const UNCERTIFIED: Stranger = (port, localAddress) =>
  connectTls({ port, host: HOST, localAddress, rejectUnauthorized: false } as ConnectionOptions)

/** Keeps CROWD connections to the port open or coming, from these addresses by turns, until disposed. */
function flood(port: number, stranger: Stranger, addresses: readonly string[]) {
  const sockets = new Set<Socket>()
  let on = true
  let opened = 0
  const keep = async (nth: number) => {
    while (on) {
      const socket = stranger(port, addresses[(nth + opened++) % addresses.length] ?? HOST)
      sockets.add(socket)
      socket.on('error', () => {})
      socket.resume()
      await new Promise((resolve) => socket.once('close', resolve))
      sockets.delete(socket)
    }
  }
  const kept = Promise.all(Array.from({ length: CROWD }, (_, nth) => keep(nth)))
  return {
    opened: () => opened,
    async [Symbol.asyncDispose]() {
      on = false
      for (const socket of sockets) socket.destroy()
      await kept
    },
  }
}

/** A server whose only tree waits for `hold`, and a peer at HOST that asks it. */
async function besieged() {
  await using stack = new AsyncDisposableStack()
  const set = stack.use(await ground())
  const { identity, log } = set
  let unanswered = 0
  const hold = Promise.withResolvers<void>()
  const source = async () => {
    await hold.promise
    return new MemoryReader([noise(1_000_000)])
  }
  const answer: QueryHandler = async ({ kind }, _peer, signal) => {
    if (kind === 'registry') return { server: true, leader: false }
    unanswered += 1
    await new Promise((resolve) => signal.addEventListener('abort', resolve))
    return null
  }
  const server = stack.use(await serveTransfer({ host: HOST, port: 0, identity, source, answer, log }))
  const to = { address: HOST, port: server.port }
  const peers = createPeers({ identity })
  const all = stack.move()
  return {
    ...{ hold, port: server.port, lines: set.lines, unanswered: () => unanswered },
    /** Connects as another host of the cluster, with a certificate and an address of its own. */
    async intrude() {
      const dir = await certs(set.dir, INTRUDER)
      const [ca, cert, key] = ['ca.pem', 'cert.pem', 'key.pem'].map((file) => readFileSync(join(dir, file)))
      const own = { ca, cert, key, localAddress: INTRUDER } as ConnectionOptions
      return () => connectTls({ port: server.port, host: HOST, ...own })
    },
    pull: () => createPuller({ identity, log }).pull(to, LIVE, new MemoryWriter(), neverAborted()),
    /** Asks what is never answered. */
    wait: (signal: AbortSignal) => peers.ask(to, { kind: 'inventory' }, signal),
    ask: () => peers.ask(to, { kind: 'registry' }, AbortSignal.timeout(4_000)),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  }
}

const INTRUDER = '127.0.0.9'
const OTHERS = ['127.0.0.2']
const MANY = Array.from({ length: 200 }, (_, nth) => `127.0.1.${nth + 1}`)

for (const [what, stranger, from] of [
  ['say nothing', SAYS_NOTHING, OTHERS],
  ['say nothing, behind the same address as the host', SAYS_NOTHING, [HOST]],
  ['say nothing, from 200 addresses', SAYS_NOTHING, MANY],
  ['speak HTTP', says('GET / HTTP/1.1\r\nHost: x\r\n\r\n'), OTHERS],
  ['send half a ClientHello', says(HALF_HELLO), OTHERS],
  ['shake hands without a certificate', UNCERTIFIED, OTHERS],
] as const) {
  test.serial(`strangers who ${what} keep no host of the cluster out, and cut no connection`, async (t) => {
    await using set = await besieged()
    const running = set.pull()
    t.deepEqual(await set.ask(), { server: true, leader: false })
    await using crowd = flood(set.port, stranger, from)
    await untilTrue(() => crowd.opened() > CROWD)
    for (let nth = 0; nth < 10; nth++) {
      t.deepEqual(await set.ask(), { server: true, leader: false }, `question ${nth}`)
      await sleep(20)
    }
    set.hold.resolve()
    t.true((await running).complete, 'what ran before the flood goes on')
    t.true(set.lines.filter((line) => line.includes('refused')).length < 100, 'a flood does not fill the log')
  })
}

test.serial(
  'hosts beyond the most at once are refused; one that tries again gets a place that becomes free',
  async (t) => {
    await using set = await besieged()
    const [one, others] = [new AbortController(), new AbortController()]
    const waiting = [...Array(CONNECTIONS_MAX).keys()].map((nth) =>
      set.wait(nth === 0 ? one.signal : others.signal).catch(() => undefined),
    )
    const late = sleep(0).then(async () => {
      await untilTrue(() => set.unanswered() === CONNECTIONS_MAX)
      return set.ask()
    })
    await untilTrue(() => set.lines.some((line) => line.includes('connections of hosts are open')))
    one.abort()
    t.deepEqual(await late, { server: true, leader: false })
    others.abort()
    await Promise.all(waiting)
  },
)

test('security: a host that takes every connection keeps no other host out', async (t) => {
  await using set = await besieged()
  const intrude = await set.intrude()
  const running = set.pull()
  let lost = 0
  const crowd: Socket[] = []
  while (crowd.length < CONNECTIONS_MAX) {
    // One after the other: handshakes have places of their own.
    const socket = intrude()
    crowd.push(socket)
    socket.on('error', () => {})
    await new Promise((resolve) => socket.once('secureConnect', resolve))
    socket.on('close', () => {
      lost += 1
    })
  }
  for (let nth = 0; nth < 5; nth++) t.deepEqual(await set.ask(), { server: true, leader: false })
  t.true(lost > 0 && lost < 10, `it loses what the others need: ${lost}`)
  set.hold.resolve()
  t.true((await running).complete, 'what ran before goes on')
  for (const socket of crowd) socket.destroy()
})
