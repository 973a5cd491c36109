import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { createAgentClient } from '../../../agent/api/client.ts'
import { codeOf } from '../../../agent/model/errors.ts'

/** An agent that begins an answer and never ends it. */
async function startSlow() {
  const stack = new AsyncDisposableStack()
  const dir = await mkdtemp(join(tmpdir(), 'wherry-client-'))
  stack.defer(() => rm(dir, { recursive: true, force: true }))
  const server = createServer((_request, answer) => {
    answer.writeHead(200, { 'content-length': 100 })
    answer.write('{')
    server.emit('half', answer.socket)
  }).listen(join(dir, 'agent.sock'))
  await once(server, 'listening')
  stack.defer(() => server.closeAllConnections())
  stack.defer(() => void server.close())
  const half = once(server, 'half') as Promise<[Socket]>
  return { client: createAgentClient(join(dir, 'agent.sock')), half, [Symbol.asyncDispose]: () => stack.disposeAsync() }
}

test('a call that is aborted in the middle of its answer rejects with the reason, and that is all', async (t) => {
  await using agent = await startSlow()
  const stop = new AbortController()
  const call = agent.client.list(stop.signal)
  const refused = t.throwsAsync(call, { message: 'enough' })
  await agent.half
  // The client must have the head of the answer by now.
  await sleep(200)
  stop.abort(new Error('enough'))
  await refused
})

test('an agent that ends in the middle of its answer is AGENT_UNAVAILABLE', async (t) => {
  await using agent = await startSlow()
  const call = agent.client.list(new AbortController().signal)
  const refused = t.throwsAsync(call)
  const [socket] = await agent.half
  socket.destroy()
  t.is(codeOf(await refused), 'AGENT_UNAVAILABLE')
})

test('closing the client ends its calls', async (t) => {
  await using agent = await startSlow()
  const refused = t.throwsAsync(agent.client.list(new AbortController().signal))
  await agent.half
  await sleep(200)
  await agent.client[Symbol.asyncDispose]()
  t.is(codeOf(await refused), 'AGENT_UNAVAILABLE')
})
