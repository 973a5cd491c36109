import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { WherryError } from '../../../agent/model/errors.ts'
import { openMover } from '../../../agent/mover/mover.ts'
import type { SnapshotRef, StageProgress } from '../../../agent/store/tree-contract.ts'
import type { QueryHandler, TreeRequest } from '../../../agent/transfer/contract.ts'
import { untilTrue } from '../until.ts'
import {
  ADDRESS,
  checkpoint,
  digestOf,
  host,
  MEBIBYTE,
  moverCertificates,
  NO_REPLIES,
  noAbort,
  options,
  volume,
  writeNoise,
} from './kit.ts'

const TICK_MS = 10
const BROKEN_THREAD = new URL('./broken-thread.ts', import.meta.url)

test('a volume goes from mover to mover while the main thread stays free', async (t) => {
  const tls = await moverCertificates(t)
  const [one, two] = [await host(t, tls), await host(t, tls)]
  const v = volume()
  await one.mover.store.create(v)
  const sizeMebibytes = 256
  writeNoise(one.file(v.id, 'blob'), sizeMebibytes)
  await using server = await one.mover.serve({
    host: ADDRESS,
    port: 0,
    choose: async (request): Promise<SnapshotRef> => ({ id: request.volume, kind: 'last' }),
    answer: NO_REPLIES,
  })

  let ticks = 0
  const ticking = setInterval(() => ticks++, TICK_MS)
  const [startMs, cpu, ownCpu] = [performance.now(), process.cpuUsage(), process.threadCpuUsage()]
  const capture = await one.mover.store.capture(v.id, 'quiet', noAbort())
  const request: TreeRequest = { volume: v.id, epoch: 1, want: { kind: 'checkpoint', hash: capture.hash } }
  const from = { address: ADDRESS, port: server.port }
  const reports: StageProgress[] = []
  const result = await two.mover.puller.pull(from, request, v, noAbort(), (progress) => reports.push(progress))
  await two.mover.store.apply(v.id, checkpoint(capture))
  const [elapsedMs, allUsed, ownUsed] = [
    performance.now() - startMs,
    process.cpuUsage(cpu),
    process.threadCpuUsage(ownCpu),
  ]
  clearInterval(ticking)

  t.like(result, { hash: capture.hash, bytes: sizeMebibytes * MEBIBYTE, complete: true })
  t.is(await digestOf(two.file(v.id, 'blob')), await digestOf(one.file(v.id, 'blob')))
  t.like(reports.at(-1), { bytesDone: sizeMebibytes * MEBIBYTE, bytesTotal: sizeMebibytes * MEBIBYTE })
  t.true(reports.length <= elapsedMs / 200 + 1, `${reports.length} reports in ${elapsedMs} ms`)
  // A machine that is busy with other things delays every thread: what is judged is whose work it was.
  const share = (ownUsed.user + ownUsed.system) / (allUsed.user + allUsed.system)
  t.true(share < 0.1, `the main thread used ${Math.round(100 * share)} % of the process's CPU time`)
  t.true(ticks > elapsedMs / TICK_MS / 4, `${ticks} ticks in ${elapsedMs} ms`)
})

test('errors of the store and of the other host arrive with code and hint', async (t) => {
  const tls = await moverCertificates(t)
  const [one, two] = [await host(t, tls), await host(t, tls)]
  const v = volume()
  const choose = async () => {
    throw new WherryError('STALE_EPOCH', 'Host h1 has seen epoch 7.')
  }
  await using server = await one.mover.serve({ host: ADDRESS, port: 0, choose, answer: NO_REPLIES })
  const from = { address: ADDRESS, port: server.port }
  const request: TreeRequest = { volume: v.id, epoch: 1, want: { kind: 'live' } }
  await t.throwsAsync(
    two.mover.puller.pull(from, request, v, noAbort(), () => undefined),
    { code: 'STALE_EPOCH' },
  )
  await t.throwsAsync(two.mover.store.capture('../etc', 'quiet', noAbort()), { instanceOf: WherryError })
  t.throws(() => two.mover.store.mountpoint('../etc'), { instanceOf: WherryError })
})

test('a question crosses both threads of both hosts: answers, coded errors and aborts', async (t) => {
  const tls = await moverCertificates(t)
  const [one, two] = [await host(t, tls), await host(t, tls)]
  const working = Promise.withResolvers<AbortSignal>()
  const answer: QueryHandler = async (question, peer, signal) => {
    if (question.kind === 'copy') throw new WherryError('STALE_EPOCH', 'Host h1 has seen epoch 7.', { hint: 'Wait.' })
    if (question.kind === 'registry') return { peer, server: true, leader: false }
    working.resolve(signal)
    return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
  }
  const choose = async () => ({ id: 'none', kind: 'last' }) as const
  await using server = await one.mover.serve({ host: ADDRESS, port: 0, choose, answer })
  const to = { address: ADDRESS, port: server.port }
  const { peers } = two.mover
  t.deepEqual(await peers.ask(to, { kind: 'registry' }, noAbort()), {
    peer: { name: ADDRESS, altNames: `IP Address:${ADDRESS}, DNS:${ADDRESS}` },
    server: true,
    leader: false,
  })
  const refused = await t.throwsAsync(peers.ask(to, { kind: 'copy', volume: 'v' }, noAbort()), { code: 'STALE_EPOCH' })
  t.is((refused as WherryError).hint, 'Wait.')
  const stop = new AbortController()
  const pending = peers.ask(to, { kind: 'inventory' }, stop.signal)
  const signal = await working.promise
  const reason = new Error('not wanted any more')
  stop.abort(reason)
  t.is(await t.throwsAsync(pending), reason)
  await untilTrue(() => signal.aborted)
})

test('a host without peers has nobody to ask', async (t) => {
  await using mover = await openMover(await options(t))
  const asked = mover.peers.ask({ address: ADDRESS, port: 1 }, { kind: 'registry' }, noAbort())
  await t.throwsAsync(asked, { code: 'TRANSFER_CUT', message: /no peers/ })
})

test('a state directory has one mover, and one that cannot open it leaves nothing running', async (t) => {
  const given = await options(t)
  const first = await openMover(given)
  await t.throwsAsync(openMover(given), { code: 'STATE_LOCKED' })
  await t.throwsAsync(openMover(await options(t, given.stateDir)), { code: 'CERTIFICATE_INVALID' })
  await first[Symbol.asyncDispose]()
  const second = await openMover(given)
  t.deepEqual((await second.store.copies()).copies, [])
  await second[Symbol.asyncDispose]()
})

test('disposing aborts what runs, waits for its end, lets go of the state directory, and is no death', async (t) => {
  const tls = await moverCertificates(t)
  const [one, two] = [await host(t, tls), await host(t, tls)]
  const v = volume()
  let asked = 0
  // A source that thinks for ever: its live capture takes long.
  const choose = (_request: TreeRequest, _peer: unknown, signal: AbortSignal) => {
    asked++
    return sleep(600_000, { id: v.id, kind: 'live' as const }, { signal })
  }
  const server = await one.mover.serve({ host: ADDRESS, port: 0, choose, answer: NO_REPLIES })
  const request: TreeRequest = { volume: v.id, epoch: 1, want: { kind: 'live' } }
  const from = { address: ADDRESS, port: server.port }
  const pull = () => two.mover.puller.pull(from, request, v, noAbort(), () => undefined)
  const first = t.throwsAsync(pull(), { message: /shuts down/ })
  await untilTrue(() => asked > 0)
  await t.throwsAsync(pull(), { code: 'COPY_RUNNING' })
  await two.mover[Symbol.asyncDispose]()
  await first
  await t.throwsAsync(two.mover.store.copies(), { message: /shuts down/ })
  t.false(two.mover.died.aborted)
  await using again = await openMover(two.options)
  t.is((await again.store.copies()).copies.length, 1)
  await one.mover[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

test('a pull that is aborted ends with the reason and closes the stage', async (t) => {
  const tls = await moverCertificates(t)
  const [one, two] = [await host(t, tls), await host(t, tls)]
  const v = volume()
  const asked = Promise.withResolvers<AbortSignal>()
  const choose = (_request: TreeRequest, _peer: unknown, signal: AbortSignal) => {
    asked.resolve(signal)
    return new Promise<SnapshotRef>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
  }
  await using server = await one.mover.serve({ host: ADDRESS, port: 0, choose, answer: NO_REPLIES })
  const request: TreeRequest = { volume: v.id, epoch: 1, want: { kind: 'live' } }
  const stop = new AbortController()
  const from = { address: ADDRESS, port: server.port }
  const pull = two.mover.puller.pull(from, request, v, stop.signal, () => undefined)
  const seen = await asked.promise
  const reason = new Error('the holder released')
  stop.abort(reason)
  t.is(await t.throwsAsync(pull), reason)
  await two.mover.store.trash(v.id)
  await untilTrue(() => seen.aborted)
  t.pass('the source hears of it')
})

test('the death of the thread rejects every call with what it died of', async (t) => {
  const mover = await openMover(await options(t), BROKEN_THREAD)
  const waiting = t.throwsAsync(mover.store.copy('x'), { code: 'INTERNAL', message: /a bug nobody caught/ })
  await t.throwsAsync(mover.store.copies(), { code: 'INTERNAL', message: /has died: a bug nobody caught/ })
  await waiting
  t.true(mover.died.aborted)
  t.is(
    await t.throwsAsync(mover.peers.ask({ address: ADDRESS, port: 1 }, { kind: 'registry' }, noAbort())),
    mover.died.reason,
  )
  t.is(await t.throwsAsync(mover.store.copies()), mover.died.reason)
  await mover[Symbol.asyncDispose]()
})

test('a shutdown does not wait for ever for what cannot be aborted', async (t) => {
  const mover = await openMover(await options(t), BROKEN_THREAD)
  const stuck = t.throwsAsync(mover.store.copy('x'), { message: /shuts down/ })
  const startMs = performance.now()
  await mover[Symbol.asyncDispose]()
  await stuck
  // The plugin kills the agent after 8 s.
  t.true(performance.now() - startMs < 7_000)
})
