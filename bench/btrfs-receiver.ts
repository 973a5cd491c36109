/**
 * Takes in btrfs streams: `btrfs-receiver.ts ADDRESS PORT DIRECTORY`. One stream for each connection; the answer is
 * `btrfs receive`'s exit code, a line.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'

const [address = '', port = '', directory = ''] = process.argv.slice(2)

async function receive(socket: Socket): Promise<void> {
  await once(socket, 'readable')
  // Somebody who only asks whether this is up.
  if (socket.readableLength === 0) return void socket.end()
  // -e: ends with the stream, whose sender waits for the answer on the same connection.
  const child = spawn('btrfs', ['-q', 'receive', '-e', directory], { stdio: ['pipe', 'inherit', 'inherit'] })
  // A receive that failed reads no more, and says so by its exit code.
  child.stdin?.on('error', () => {})
  socket.pipe(child.stdin)
  const [code] = await once(child, 'exit')
  socket.end(`${code}\n`)
}

createServer((socket) => {
  socket.on('error', (error) => process.stderr.write(`${error.stack}\n`))
  receive(socket).catch((error: Error) => {
    process.stderr.write(`${error.stack}\n`)
    socket.destroy()
  })
}).listen(Number(port), address)
