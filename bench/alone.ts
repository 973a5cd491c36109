/**
 * What the parts of a copy cost alone on this machine: `alone.ts DIRECTORY CERTIFICATES`. Small loops of the plainest
 * calls, one thing at a time; prints one line of JSON. DIRECTORY is on the disk that is measured; it is left empty.
 */
import { hash as digest } from 'node:crypto'
import { once } from 'node:events'
import {
  closeSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { connect } from 'node:tls'
import { Worker } from 'node:worker_threads'
import { run } from '../lab/command.ts'
import { Noise } from './noise.ts'

/** One part: how fast it goes, and what it costs all threads together. */
export interface Rate {
  /** Bytes or files. */
  readonly perSecond: number
  readonly cpuSecondsEach: number
}

export interface Alone {
  readonly read: Rate
  readonly hash: Rate
  readonly tls: Rate
  readonly write: Rate
  readonly walkFiles: Rate
  readonly readFiles: Rate
  readonly hashFiles: Rate
  readonly createFiles: Rate
}

const PIECE_BYTES = 1024 * 1024
const BLOCK_BYTES = 64 * 1024
const PASSES = 3
const TOTAL_BYTES = 512 * PIECE_BYTES
/** The mean of the case `small`. */
export const SMALL_FILE_BYTES = 5 * 1024
const DIRECTORIES = 100
const FILES_EACH = 200

/** The best of some passes: a limit is wanted, and whatever disturbs makes a pass slower. `before` is not timed. */
async function rateOf(count: number, work: () => Promise<void> | void, before: () => void = () => {}): Promise<Rate> {
  const passes: Rate[] = []
  for (let pass = 0; pass < PASSES; pass++) {
    before()
    passes.push(await passOf(count, work))
  }
  const perSecond = Math.max(...passes.map((rate) => rate.perSecond))
  return { perSecond, cpuSecondsEach: Math.min(...passes.map((rate) => rate.cpuSecondsEach)) }
}

async function passOf(count: number, work: () => Promise<void> | void): Promise<Rate> {
  const cpu = process.cpuUsage()
  const startedMs = performance.now()
  await work()
  const seconds = (performance.now() - startedMs) / 1000
  const { user, system } = process.cpuUsage(cpu)
  return { perSecond: count / seconds, cpuSecondsEach: (user + system) / 1e6 / count }
}

async function main(directory: string, certificates: string): Promise<Alone> {
  const file = `${directory}/file`
  const piece = new Noise('alone').bytes(PIECE_BYTES)
  const write = await rateOf(
    TOTAL_BYTES,
    () => writeThrough(file, piece),
    () => rmSync(file, { force: true }),
  )
  const read = await rateOf(TOTAL_BYTES, () => readThrough(file, piece))
  rmSync(file)
  const block = piece.subarray(0, BLOCK_BYTES)
  const hash = await rateOf(TOTAL_BYTES, () => hashTimes(block, TOTAL_BYTES / BLOCK_BYTES))
  const tls = await measureTls(certificates, piece)
  const count = DIRECTORIES * FILES_EACH
  const small = piece.subarray(0, SMALL_FILE_BYTES)
  const places = Array.from({ length: DIRECTORIES }, (_, index) => `${directory}/d${index}`)
  const createFiles = await rateOf(
    count,
    () => createAll(places, small),
    () => removeAll(places),
  )
  const walkFiles = await rateOf(count, () => places.forEach(walk))
  const readFiles = await rateOf(count, () => places.forEach(readAll))
  const hashFiles = await rateOf(count, () => hashTimes(small, count))
  removeAll(places)
  return { read, hash, tls, write, walkFiles, readFiles, hashFiles, createFiles }
}

function writeThrough(file: string, piece: Buffer): void {
  const fd = openSync(file, 'w')
  for (let at = 0; at < TOTAL_BYTES; at += PIECE_BYTES) writeSync(fd, piece)
  fsyncSync(fd)
  closeSync(fd)
}

function readThrough(file: string, into: Buffer): void {
  const fd = openSync(file, 'r')
  while (readSync(fd, into) > 0);
  closeSync(fd)
}

function hashTimes(data: Buffer, times: number): void {
  for (let done = 0; done < times; done++) digest('sha256', data, 'buffer')
}

function removeAll(places: readonly string[]): void {
  for (const place of places) rmSync(place, { recursive: true, force: true })
}

async function createAll(places: readonly string[], content: Buffer): Promise<void> {
  for (const place of places) {
    mkdirSync(place)
    for (let index = 0; index < FILES_EACH; index++) {
      const fd = openSync(`${place}/f${index}`, 'wx')
      writeSync(fd, content)
      closeSync(fd)
    }
  }
  await run('sync', ['-f', places[0] ?? '/'])
}

function walk(place: string): void {
  for (const name of readdirSync(place)) lstatSync(`${place}/${name}`, { bigint: true })
}

function readAll(place: string): void {
  for (const name of readdirSync(place)) readFileSync(`${place}/${name}`)
}

/** TLS 1.3 over loopback from this thread to another one; the CPU time is that of both. */
async function measureTls(certificates: string, piece: Buffer): Promise<Rate> {
  const sink = new Worker(new URL('tls-sink.ts', import.meta.url), {
    workerData: { certificates, totalBytes: TOTAL_BYTES },
  })
  const [port] = (await once(sink, 'message')) as [number]
  const ca = readFileSync(`${certificates}/ca.pem`)
  const socket = connect({ host: '127.0.0.1', port, ca, minVersion: 'TLSv1.3', checkServerIdentity: () => undefined })
  await once(socket, 'secureConnect')
  const rate = await rateOf(TOTAL_BYTES, async () => {
    const received = once(sink, 'message')
    for (let at = 0; at < TOTAL_BYTES; at += PIECE_BYTES) {
      if (!socket.write(piece)) await once(socket, 'drain')
    }
    await received
  })
  // First, and to its end: the thread's death would reset the connection.
  socket.destroy()
  await once(socket, 'close')
  await sink.terminate()
  return rate
}

if (import.meta.main) {
  const [directory = '', certificates = ''] = process.argv.slice(2)
  process.stdout.write(`${JSON.stringify(await main(directory, certificates))}\n`)
}
