import { once } from 'node:events'
import { lstat, mkdir, unlink } from 'node:fs/promises'
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http'
import { connect } from 'node:net'
import { dirname } from 'node:path'
import { WherryError } from '../model/errors.ts'

/** What both HTTP servers on unix sockets need: the agent's and the plugin's. */

/** Time for a whole request, head and body. It is below 1 KiB, and its client writes it at once. */
const REQUEST_LIMIT_MS = 10_000
/** A client that reads nothing of its response for this long gets no more of it. */
const UNREAD_LIMIT_MS = 10_000
const LOOK_EVERY_MS = 1_000
/** Connections that wait to be accepted; the kernel's own limit is the same. Go's client fails at once beyond it. */
const BACKLOG = 4_096

/**
 * Creates a server whose clients may take their time neither for a request nor for reading its response.
 * A request that is carried out has no time limit here.
 */
export function createSocketServer(listener: RequestListener): Server {
  const server = createServer(
    {
      headersTimeout: REQUEST_LIMIT_MS,
      requestTimeout: REQUEST_LIMIT_MS,
      connectionsCheckingInterval: LOOK_EVERY_MS,
    },
    listener,
  )
  server.on('request', ({ socket }, response) => {
    response.once('prefinish', () => socket.setTimeout(UNREAD_LIMIT_MS))
  })
  return server
}

/** Only root may use either socket: access to it amounts to root on the host. */
const SOCKET_UMASK = 0o177

/**
 * Binds a server to a socket file with mode 0600 and returns when it accepts connections.
 * A socket file without a listener is removed first.
 * STATE_LOCKED: another process serves it. SYSTEM_CALL_FAILED: another kind of file is in its place.
 */
export async function listenOnSocket(server: Server, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  await removeStaleSocket(path)
  // Node binds a path within the call to listen(), so the mask covers only that, and the file never has another mode.
  const umask = process.umask(SOCKET_UMASK)
  try {
    server.listen({ path, backlog: BACKLOG })
  } finally {
    process.umask(umask)
  }
  await once(server, 'listening')
}

/** Serves on a socket that another process has bound: it still takes connections when this process ends. */
export async function listenOnDescriptor(server: Server, fd: number): Promise<void> {
  server.listen({ fd, backlog: BACKLOG })
  await once(server, 'listening')
}

async function removeStaleSocket(path: string): Promise<void> {
  const found = await lstat(path).catch(nullIfMissing)
  if (found === null) return
  if (!found.isSocket()) {
    throw new WherryError('SYSTEM_CALL_FAILED', `Cannot listen on ${path}: a file that is not a socket is there.`, {
      hint: 'Look at it and move it away.',
    })
  }
  if ((await knock(path)) === 'served') {
    throw new WherryError('STATE_LOCKED', `Cannot listen on ${path}: another process does.`, {
      hint: 'Stop the other Wherry on this host first (docker plugin ls, ps).',
    })
  }
  await unlink(path).catch(nullIfMissing)
}

/**
 * Connects to a unix socket and hangs up.
 * `dead`: the file exists and no process listens. `unclear`: it does not exist, or something else is wrong with it.
 */
export async function knock(path: string): Promise<'served' | 'dead' | 'unclear'> {
  const socket = connect(path)
  try {
    await once(socket, 'connect')
    return 'served'
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ECONNREFUSED' ? 'dead' : 'unclear'
  } finally {
    socket.destroy()
  }
}

/**
 * Reads a request's body as text.
 * REQUEST_INVALID: it is longer than `limitBytes`, or the client went away in the middle of it.
 */
export async function readRequestBody(request: IncomingMessage, limitBytes: number): Promise<string> {
  const chunks: Buffer[] = []
  let sizeBytes = 0
  for await (const chunk of chunksOf(request)) {
    sizeBytes += chunk.length
    if (sizeBytes > limitBytes) {
      throw new WherryError('REQUEST_INVALID', `The request's body is longer than ${limitBytes} bytes.`)
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

async function* chunksOf(request: IncomingMessage): AsyncIterable<Buffer> {
  try {
    // The request is not destroyed on an early end: the refusal is still written on its connection.
    yield* request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>
  } catch (cause) {
    throw new WherryError('REQUEST_INVALID', 'The request ended in the middle of its body.', { cause })
  }
}

function nullIfMissing(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT') return null
  throw error
}
