import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { promisify } from 'node:util'
import pino, { type Logger } from 'pino'
import { type Identity, openIdentity } from '../../../agent/host/certificates.ts'
import type { TreeRequest } from '../../../agent/transfer/contract.ts'

export const runProgram = promisify(execFile)
export const CERTS = join(import.meta.dirname, '../../../scripts/certs')
export const HOST = '127.0.0.1'

/** A logger that keeps its lines. */
export function recorder(): { log: Logger; lines: string[] } {
  const lines: string[] = []
  return { lines, log: pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) }) }
}

/** A directory that vanishes with the test. */
export async function transferDirectory(): Promise<{ dir: string } & AsyncDisposable> {
  const dir = await mkdtemp(join(tmpdir(), 'wherry-transfer-'))
  return { dir, [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }) }
}

/** Makes a CA with certificates by scripts/certs; answers the directory of the last address. */
export async function certs(out: string, ...addresses: string[]): Promise<string> {
  await runProgram(CERTS, [out, ...addresses])
  return join(out, addresses.at(-1) ?? '')
}

export async function identityIn(dir: string, log: Logger, pollMs = 50): Promise<Identity> {
  return openIdentity({ dir, address: HOST, log, pollMs })
}

/** An identity whose files are used unchecked: what a host with bad certificates would present. */
export function rawIdentity(files: { ca: Buffer; cert: Buffer; key: Buffer }): Identity {
  return {
    current: () => files,
    endsAt: new Date(0),
    paths: { ca: '/tls/ca.pem', cert: '/tls/cert.pem', key: '/tls/key.pem' },
    onChange: () => () => {},
    [Symbol.asyncDispose]: async () => {},
  }
}

export function digest(data: Buffer): string {
  return createHash('sha256').update(data).digest('hex')
}

/** Hashes of the seven blocks of 100,000 bytes that are all ones. */
export const ONES_LIST = Buffer.concat([
  ...Array(6).fill(Buffer.from(digest(Buffer.alloc(16_384, 1)), 'hex')),
  Buffer.from(digest(Buffer.alloc(1_696, 1)), 'hex'),
])

/**
 * A TCP proxy: `cut` resets its connections, `silence` swallows everything from then on without a close. `toAsker`
 * counts what the source sent. With `bytesPerSecond` what the source sends goes no faster.
 */
export async function proxy(port: number, bytesPerSecond = Number.POSITIVE_INFINITY) {
  const sockets = new Set<Socket>()
  let silent = false
  let toAsker = 0
  const server: Server = createServer((near) => {
    const far = connect(port, HOST)
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => silent || other.destroy())
    }
    near.on('data', (chunk) => silent || far.write(chunk))
    far.on('data', (chunk) => {
      if (silent) return
      toAsker += chunk.length
      near.write(chunk)
      if (bytesPerSecond === Number.POSITIVE_INFINITY) return
      far.pause()
      void setTimeout((chunk.length * 1_000) / bytesPerSecond).then(() => far.resume())
    })
  })
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve))
  return {
    address: HOST,
    port: (server.address() as AddressInfo).port,
    toAsker: () => toAsker,
    cut() {
      for (const socket of sockets) socket.resetAndDestroy()
    },
    silence() {
      silent = true
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

export const LIVE: TreeRequest = { volume: '01J0000000000000000000TEST', epoch: 1, want: { kind: 'live' } }

export function neverAborted(): AbortSignal {
  return new AbortController().signal
}

/** Bytes that do not repeat soon. */
export function noise(bytes: number, seed = 1): Buffer {
  const data = Buffer.allocUnsafe(bytes)
  let state = seed
  for (let at = 0; at < bytes; at++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    data[at] = state >>> 16
  }
  return data
}

/** A certificate for HOST, signed by the CA in `out`, that expired in the past. */
export async function expired(out: string): Promise<{ ca: Buffer; cert: Buffer; key: Buffer }> {
  const at = (name: string) => join(out, name)
  await writeFile(at('expired.cnf'), `subjectAltName=IP:${HOST}\nextendedKeyUsage=serverAuth,clientAuth\n`)
  await runProgram(
    'openssl',
    'genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out'.split(' ').concat(at('old.key')),
  )
  await runProgram('openssl', ['req', '-new', '-key', at('old.key'), '-subj', `/CN=${HOST}`, '-out', at('old.csr')])
  const sign = ['x509', '-req', '-in', at('old.csr'), '-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-set_serial', '9']
  await runProgram('openssl', [...sign, '-days', '-1', '-extfile', at('expired.cnf'), '-out', at('old.pem')])
  const [ca, cert, key] = await Promise.all(['ca.pem', 'old.pem', 'old.key'].map((name) => readFile(at(name))))
  if (ca === undefined || cert === undefined || key === undefined) throw new Error('three files were read')
  return { ca, cert, key }
}
