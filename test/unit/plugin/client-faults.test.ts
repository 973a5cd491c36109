import { readdirSync, readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { untilTrue } from '../until.ts'
import { asDockerd } from './engine.ts'
import { startProcess } from './plugin-process.ts'

/** One of the two servers on unix sockets, in a real process, and what its clients say. */
interface Target {
  readonly path: string
  readonly pid: number
  /** A request that succeeds. */
  readonly good: string
  /** One whose response is longer than a socket's buffer. */
  readonly long: string
  readonly create: (body: string) => string
}

/** Far above a socket's buffer, so that a response of all names does not fit. */
const VOLUMES = 1_000
const BIG_BYTES = 100_000_000
/** Less than a fifth of what two such bodies would take. */
const GROWTH_LIMIT_BYTES = 40_000_000

test('both sockets refuse what no client of theirs says, and the next good request works', async (t) => {
  await withTargets(async (target) => {
    const { good, create } = target
    const deep = '['.repeat(10_000)
    const faults: [string, RegExp][] = [
      [create(''), /Err":"|REQUEST_INVALID/],
      [create('{"Name":'), /JSON/],
      [create('[]'), /body|expected/],
      [create('null'), /body|expected/],
      [create(`{"Opts":{"uid":${deep}`), /JSON/],
      [create(`{"Name":{"name":1},"name":[]}`), /[Nn]ame: /],
      [good.replace(/^\w+/, 'PATCH'), /has no (call )?PATCH/],
      [good.replace(/^(\w+) \S+/, '$1 /..%2f/%zz'), /^HTTP\/1\.1 [45]00/],
      ['\0\0\0\0\r\n\r\n', /^$|^HTTP\/1\.1 400/],
      ['GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n', /^$|^HTTP\/1\.1 400/],
      [`GET / HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(100_000)}\r\n\r\n`, /^$|^HTTP\/1\.1 431/],
    ]
    for (const [fault, refusal] of faults) {
      t.regex(await converse(target, fault), refusal, `${target.path}: ${fault.slice(0, 60)}`)
      await serves(t, target)
    }
  })
})

test("a body of 100 MB is refused, and is in nobody's memory", async (t) => {
  await withTargets(async (target) => {
    const before = memoryOf(target)
    const piece = Buffer.alloc(1_000_000, ' ')
    for (const length of [`Content-Length: ${BIG_BYTES}`, 'Transfer-Encoding: chunked']) {
      const socket = connect(target.path)
      const reply = textOf(socket)
      const closed = new Promise((resolve) => socket.once('close', resolve))
      const [line] = target.create('').split('\r\n')
      socket.write(`${line}\r\nHost: x\r\nConnection: close\r\n${length}\r\n\r\n`)
      for (let sent = 0; sent < BIG_BYTES && !socket.destroyed; sent += piece.length) {
        if (length.startsWith('Transfer')) socket.write(`${piece.length.toString(16)}\r\n`)
        const drained = new Promise((resolve) => socket.once('drain', resolve))
        if (!socket.write(piece)) await Promise.race([drained, closed])
        if (length.startsWith('Transfer')) socket.write('\r\n')
      }
      // A client that was cut off while it wrote may not read what had come before.
      t.regex(await reply, /^$|longer than \d+ bytes/, `${target.path}, ${length}`)
      await serves(t, target)
    }
    t.true(memoryOf(target) - before < GROWTH_LIMIT_BYTES, `${target.path}: ${before} to ${memoryOf(target)}`)
  })
})

test('1,000 requests at once are all carried out, and leave no descriptor', async (t) => {
  await withTargets(async (target) => {
    const before = descriptorsOf(target)
    const all = Array.from({ length: VOLUMES }, () => converse(target, target.good))
    const replies = await Promise.all(all)
    t.is(replies.filter((reply) => reply.startsWith('HTTP/1.1 200')).length, VOLUMES, target.path)
    await untilTrue(() => descriptorsOf(target) <= before)
    await serves(t, target)
  })
})

test('a client that sends or reads too slowly is cut off; requests beside it are carried out', async (t) => {
  await withTargets(async (target, fill) => {
    await fill()
    const before = descriptorsOf(target)
    const begun = target.create('{"Name":"half"}\n')
    const silent = connect(target.path)
    const slowHead = connect(target.path)
    slowHead.write(`${begun.split('\r\n')[0]}\r\nX: `)
    const slowBody = connect(target.path)
    slowBody.write(begun.slice(0, -5))
    const ends = [silent, slowHead, slowBody].map((socket) => textOf(socket))
    // Each takes the next byte long before any of them would be too late by itself.
    const drip = setInterval(() => slowHead.writable && slowHead.write('a'), 100).unref()
    const deaf = connect(target.path)
    deaf.pause()
    deaf.on('error', () => {})
    deaf.write(target.long)
    const gone = connect(target.path)
    gone.write(begun.slice(0, -5))
    await sleep(100)
    gone.destroy()
    await serves(t, target)
    for (const end of await Promise.all(ends)) t.regex(end, /^$|^HTTP\/1\.1 408/, target.path)
    clearInterval(drip)
    await untilTrue(() => descriptorsOf(target) <= before)
    deaf.destroy()
    await serves(t, target)
  })
})

/** Runs `each` with the sockets of a plugin and of its agent, one after another at the same time. */
async function withTargets(each: (target: Target, fill: () => Promise<void>) => Promise<void>): Promise<void> {
  await using started = await startProcess()
  const { child } = started.spawnPlugin()
  await untilTrue(() => started.diary('serve').length === 1)
  const create = (line: string) => (body: string) =>
    `${line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
  const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`
  const fill = async () => {
    const names = Array.from({ length: VOLUMES }, (_, nth) => `volume-${nth}`)
    await Promise.all(names.map((Name) => started.call('VolumeDriver.Create', { Name })))
  }
  const plugin = {
    path: started.pluginSocket,
    pid: child.pid ?? 0,
    good: asDockerd('VolumeDriver.Capabilities'),
    long: asDockerd('VolumeDriver.List'),
    create: create('POST /VolumeDriver.Create'),
  }
  const agent = {
    path: started.agentSocket,
    pid: started.diary('serve')[0]?.pid ?? 0,
    good: get('/health'),
    long: get('/volumes'),
    create: create('POST /volumes'),
  }
  const filled = Promise.withResolvers<void>()
  await Promise.all([
    each(plugin, async () => {
      await fill()
      filled.resolve()
    }),
    each(agent, () => filled.promise),
  ])
}

async function serves(t: ExecutionContext, target: Target): Promise<void> {
  t.regex(await converse(target, target.good), /^HTTP\/1\.1 200/, target.path)
}

/** Sends a request and returns the response, empty if there was none. */
async function converse(target: Target, request: string): Promise<string> {
  const socket = connect(target.path)
  socket.write(request)
  return await textOf(socket)
}

/** Reads to the end, however the connection ends. */
async function textOf(socket: Socket): Promise<string> {
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk)).on('error', () => {})
  await new Promise((resolve) => socket.once('close', resolve))
  return Buffer.concat(chunks).toString()
}

function descriptorsOf({ pid }: Target): number {
  return readdirSync(`/proc/${pid}/fd`).length
}

function memoryOf({ pid }: Target): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024
}
