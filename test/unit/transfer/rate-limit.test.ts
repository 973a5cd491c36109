import test from 'ava'
import { RateLimit } from '../../../agent/transfer/connection/rate-limit.ts'
import { createPuller } from '../../../agent/transfer/receive/puller.ts'
import { serveTransfer } from '../../../agent/transfer/send/server.ts'
import { certs, HOST, identityIn, LIVE, neverAborted, noise, recorder, transferDirectory } from './kit.ts'
import { MemoryReader, MemoryWriter } from './memory-tree.ts'

const MB = 1_000_000

test('10 MB under a limit of 20 MB/s take 0.4 s or more, and two copies share the limit', async (t) => {
  await using stack = new AsyncDisposableStack()
  const { dir } = stack.use(await transferDirectory())
  const { log } = recorder()
  const identity = stack.use(await identityIn(await certs(dir, HOST), log))
  const source = async () => new MemoryReader([noise(10 * MB)])
  const bandwidthBytesPerSecond = 20 * MB
  const server = stack.use(await serveTransfer({ host: HOST, port: 0, identity, source, log, bandwidthBytesPerSecond }))
  const pull = () =>
    createPuller({ identity, log }).pull({ address: HOST, port: server.port }, LIVE, new MemoryWriter(), neverAborted())
  const startedMs = performance.now()
  t.true((await pull()).complete)
  const oneMs = performance.now() - startedMs
  t.true(oneMs >= 400, `${oneMs} ms`)
  const both = await Promise.all([pull(), pull()])
  t.true(both.every(({ complete }) => complete))
  const bothMs = performance.now() - startedMs - oneMs
  t.true(bothMs >= 900, `${bothMs} ms`)
})

test('time in which nothing was sent cannot be saved up', async (t) => {
  const bandwidth = new RateLimit(10 * MB)
  await bandwidth.take(1, neverAborted())
  await new Promise((resolve) => setTimeout(resolve, 500))
  const startedMs = performance.now()
  for (let nth = 0; nth < 4; nth++) await bandwidth.take(MB, neverAborted())
  t.true(performance.now() - startedMs >= 330)
})

test('whoever waits for bandwidth can be called off', async (t) => {
  const bandwidth = new RateLimit(1_000)
  const controller = new AbortController()
  const waiting = bandwidth.take(MB, controller.signal)
  controller.abort(new Error('not wanted any more'))
  await t.throwsAsync(waiting, { message: 'not wanted any more' })
})
