import type { AddressInfo } from 'node:net'
import { connect, createServer, type TLSSocket } from 'node:tls'
import type { Identity } from '../../../agent/host/certificates.ts'
import { createPuller } from '../../../agent/transfer/receive/puller.ts'
import { type FrameType, framePrefix } from '../../../agent/transfer/wire/frame.ts'
import { certs, HOST, identityIn, LIVE, neverAborted, recorder, transferDirectory } from './kit.ts'
import { MemoryWriter } from './memory-tree.ts'

/** A frame as decent peers make it. */
export function frame(type: FrameType, body: Buffer = Buffer.alloc(0), head?: Buffer): Buffer {
  return Buffer.concat([framePrefix(type, body.length, head), body])
}

/** A header as no decent peer would make it. */
export function rawHeader(bytes: number, code: number): Buffer {
  const header = Buffer.alloc(5)
  header.writeUInt32BE(bytes)
  header[4] = code
  return header
}

/** An identity that both sides use, and a log that is kept. */
export async function ground() {
  await using stack = new AsyncDisposableStack()
  const { dir } = stack.use(await transferDirectory())
  const { log, lines } = recorder()
  const identity = stack.use(await identityIn(await certs(dir, HOST), log))
  const pull = (source: { address: string; port: number }) =>
    createPuller({ identity, log }).pull(source, LIVE, new MemoryWriter(), neverAborted())
  const all = stack.move()
  return { dir, identity, log, lines, pull, [Symbol.asyncDispose]: () => all.disposeAsync() }
}

/** A source with a good certificate that says `bytes` to whoever connects, and nothing more. */
export async function speaker(identity: Identity, bytes: Buffer) {
  const sockets: TLSSocket[] = []
  const server = createServer({ ...identity.current(), requestCert: true }, (socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
    socket.resume()
    socket.write(bytes)
  })
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve))
  return {
    address: HOST,
    port: (server.address() as AddressInfo).port,
    sockets,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** Says `bytes` to a source with a good certificate, waits for the close. */
export async function insult(identity: Identity, port: number, bytes: Buffer): Promise<void> {
  const socket = connect({ ...identity.current(), host: HOST, port })
  socket.on('error', () => {})
  socket.resume()
  socket.write(bytes)
  await new Promise((resolve) => socket.on('close', resolve))
}
