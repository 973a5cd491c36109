import test from 'ava'
import { ServerLog } from '../../../agent/bus/server-log.ts'
import { eventually, recordingLog } from './server.ts'

const MINUTE_MS = 60_000

function ground() {
  const clock = { nowMs: 0 }
  const { log, lines } = recordingLog('info')
  return { clock, lines, server: new ServerLog(log, () => clock.nowMs) }
}

test('routes are told apart by host, also those that are reached by IPv6 or not found by name', (t) => {
  const { server, lines } = ground()
  const failed = (why: string) => server.take(`[7] [ERR] Error trying to connect to route (attempt 3): ${why}`)
  for (let second = 0; second < 3; second++) {
    failed('dial tcp 10.0.0.2:4248: i/o timeout')
    failed('dial tcp 10.0.0.1:51000->10.0.0.3:4248: connect: no route to host')
    failed('dial tcp [fd00::4]:4248: connect: connection refused')
    failed('lookup h5 on 127.0.0.1:53: no such host')
  }
  t.deepEqual(
    lines.map((line) => line.server),
    ['10.0.0.2', '10.0.0.3', '[fd00::4]', 'lookup h5 on 127.0.0.1:53: no such host'],
  )
  server.take('[7] [INF] [fd00::4]:51234 - rid:12 - Route connection created')
  server.take('[7] [INF] [fd00::4]:51235 - rid:13 - Route connection created')
  t.like(lines.at(-1), { msg: 'registry server reached again', server: '[fd00::4]', attempts: 3 })
  t.is(lines.length, 5)
})

test('any other warning is logged once in ten minutes, with how often it came meanwhile', (t) => {
  const { server, lines, clock } = ground()
  const warn = (port: number) =>
    server.take(`[7] [ERR] 10.0.0.9:${port} - rid:${port} - TLS route handshake error: remote error: bad certificate`)
  for (let port = 1; port <= 50; port++) t.regex(warn(port) ?? '', /bad certificate/, 'it may still be why it ends')
  t.is(lines.length, 1)
  clock.nowMs += 11 * MINUTE_MS
  warn(51)
  t.like(lines[1], { level: 50, msg: 'nats-server says', repeated: 49 })
})

test('expected warnings are detail: the health that the agent asked for, and what is always so', (t) => {
  const { server, lines } = ground()
  const expected = [
    'Plaintext passwords detected, use nkeys',
    'Healthcheck failed: "JetStream is not current"',
    'Metalayer blocking snapshot starting',
    'Metalayer async snapshot took 2.100s (streams: 3, consumers: 0, compacted: 1.0 KB)',
    'Metalayer snapshot generation took 1.100s (streams: 3, consumers: 0)',
    'RAFT [yrzKKRBu - _meta_] Detected another leader with higher term, will stepdown',
  ]
  for (const text of expected) t.is(server.take(`[7] [WRN] ${text}`), null, text)
  t.deepEqual(lines, [])
  for (const text of [
    'Error snapshotting JetStream cluster state: disk full',
    'RAFT [y - _meta_] Corrupt WAL, will truncate',
  ])
    t.is(server.take(`[7] [WRN] ${text}`), text)
  t.is(lines.length, 2)
})

test('a route that the other host made from another address counts as made once it is not tried any more', async (t) => {
  const { log, lines } = recordingLog('info')
  const server = new ServerLog(log, undefined, 5)
  const attempt = '[7] [ERR] Error trying to connect to route (attempt 1): dial tcp 10.0.0.2:4248: connection refused'
  server.take(attempt)
  await eventually('it is back', () => lines.length === 2)
  t.is(lines[1]?.msg, 'registry server reached again')
  server.take(attempt)
  server.ended()
  t.is(lines.length, 3)
})
