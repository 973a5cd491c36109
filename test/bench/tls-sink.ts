/** The thread that alone.ts sends to: says its port, then, at the end of the stream, how much has come. */
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:tls'
import { parentPort, workerData } from 'node:worker_threads'

const { certificates } = workerData as { certificates: string }
const [key, cert] = ['key.pem', 'cert.pem'].map((name) => readFileSync(`${certificates}/${name}`))
const server = createServer({ key, cert, minVersion: 'TLSv1.3' }, (socket) => {
  let bytes = 0
  socket.on('data', (data) => {
    bytes += data.length
  })
  socket.on('end', () => parentPort?.postMessage(bytes))
})
server.listen(0, '127.0.0.1', () => parentPort?.postMessage((server.address() as AddressInfo).port))
