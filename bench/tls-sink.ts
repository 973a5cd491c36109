/** The thread that alone.ts sends to: says its port, then a word each time that so many bytes have come. */
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:tls'
import { parentPort, workerData } from 'node:worker_threads'

const { certificates, totalBytes } = workerData as { certificates: string; totalBytes: number }
const [key, cert] = ['key.pem', 'cert.pem'].map((name) => readFileSync(`${certificates}/${name}`))
const server = createServer({ key, cert, minVersion: 'TLSv1.3' }, (socket) => {
  let bytes = 0
  socket.on('data', (data) => {
    bytes += data.length
    if (bytes % totalBytes === 0) parentPort?.postMessage(bytes)
  })
})
server.listen(0, '127.0.0.1', () => parentPort?.postMessage((server.address() as AddressInfo).port))
