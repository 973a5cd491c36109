import { once } from 'node:events'
import { mkdtemp, rename, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { engineSocketReplaced } from '../../../plugin/engine-socket.ts'

const DEAD_FOR_MS = 200

async function start({ deadFromTheStart = false } = {}) {
  const stack = new AsyncDisposableStack()
  const dir = await mkdtemp(join(tmpdir(), 'wherry-engine-'))
  stack.defer(() => rm(dir, { recursive: true, force: true }))
  const socketPath = join(dir, 'docker.sock')
  /** Listens at the path; ending it leaves a dead socket file behind, as the old inode does in the plugin's mount. */
  const engine = async () => {
    const server = createServer((socket) => socket.destroy())
    server.listen(`${socketPath}.new`)
    await once(server, 'listening')
    await rename(`${socketPath}.new`, socketPath)
    return async () => {
      server.close()
      await once(server, 'close')
    }
  }
  if (deadFromTheStart) await (await engine())()
  const state = { lastRequestMs: Number.NEGATIVE_INFINITY, running: 0, replaced: false }
  const stop = new AbortController()
  const watch = engineSocketReplaced({
    socketPath,
    lastRequestMs: () => state.lastRequestMs,
    running: () => state.running,
    signal: stop.signal,
    deadForMs: DEAD_FOR_MS,
    lookEveryMs: 20,
  }).then(
    () => {
      state.replaced = true
    },
    () => {},
  )
  stack.defer(async () => {
    stop.abort()
    await watch
  })
  return { state, engine, [Symbol.asyncDispose]: () => stack.disposeAsync() }
}

test('a dead engine socket while volume calls come: the plugin should start again', async (t) => {
  await using plugin = await start()
  const endEngine = await plugin.engine()
  await sleep(100)
  await endEngine()
  await sleep(100)
  plugin.state.lastRequestMs = performance.now()
  plugin.state.running = 1
  await sleep(2 * DEAD_FOR_MS)
  t.false(plugin.state.replaced, 'not in the middle of a call')
  plugin.state.running = 0
  await sleep(100)
  t.true(plugin.state.replaced)
})

test('a stopped engine sends no calls: the plugin stays', async (t) => {
  await using plugin = await start()
  const endEngine = await plugin.engine()
  await sleep(100)
  plugin.state.lastRequestMs = performance.now()
  await endEngine()
  await sleep(3 * DEAD_FOR_MS)
  t.false(plugin.state.replaced)
})

test('an engine that is back on the same socket in time is no reason', async (t) => {
  await using plugin = await start()
  const endEngine = await plugin.engine()
  await sleep(100)
  await endEngine()
  await sleep(DEAD_FOR_MS / 2)
  const endAgain = await plugin.engine()
  plugin.state.lastRequestMs = performance.now()
  await sleep(3 * DEAD_FOR_MS)
  await endAgain()
  t.false(plugin.state.replaced)
})

test('without an engine socket, as with Podman, the plugin stays', async (t) => {
  await using plugin = await start()
  await sleep(50)
  plugin.state.lastRequestMs = performance.now() + 60_000
  await sleep(3 * DEAD_FOR_MS)
  t.false(plugin.state.replaced)
})

test('a socket that was dead from the start is no reason: there is no Docker here', async (t) => {
  await using plugin = await start({ deadFromTheStart: true })
  plugin.state.lastRequestMs = performance.now() + 60_000
  await sleep(3 * DEAD_FOR_MS)
  t.false(plugin.state.replaced)
})
