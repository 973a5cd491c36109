import test from 'ava'
import { leaderlessQuorum, type NatsSettings, ownEndpoint, planNats } from '../../../agent/bus/plan.ts'
import { parseServerLine } from '../../../agent/bus/server-log.ts'
import { isOlder, parseVersion } from '../../../agent/bus/version.ts'
import { codeOf } from '../../../agent/model/errors.ts'
import { fromKey, toKey } from '../../../agent/registry/keys.ts'

const TLS = { ca: 'ca', cert: 'cert', key: 'key' }

function settings(more: Partial<NatsSettings>): NatsSettings {
  return { advertise: '10.0.0.1', peers: [], urls: [], clientPort: 1, clusterPort: 2, ...more }
}

test('hosts that were given the same list come to the same layout', (t) => {
  const peers = Array.from({ length: 7 }, (_, n) => `10.0.0.${n + 1}`)
  for (const advertise of peers) {
    const plan = planNats(settings({ advertise, peers }))
    t.deepEqual(plan.servers, peers.slice(0, 5))
    t.is(plan.replicas, 3)
    t.is(plan.runsServer, peers.indexOf(advertise) < 5)
  }
  t.like(planNats(settings({})), { mode: 'single', runsServer: true, replicas: 1, warning: null })
  t.like(planNats(settings({ peers: ['10.0.0.1'] })), { mode: 'single', replicas: 1 })
  t.like(planNats(settings({ urls: ['tls://x'] })), { mode: 'own', runsServer: false, replicas: null })
})

test('promise 6: so many servers without a leader that the others hold no majority of any replicas, wherever these are', (t) => {
  const quorums = [2, 3, 4, 5].map((size) => {
    const servers = Array.from({ length: size }, (_, n) => `10.0.0.${n + 1}`)
    const plan = planNats(settings({ peers: servers }))
    const quorum = leaderlessQuorum(plan)
    // Every choice of replicas against every choice of hosts that were reached.
    for (let replicas = 0; replicas < 2 ** size; replicas++) {
      if (bits(replicas) !== plan.replicas) continue
      for (let reached = 0; reached < 2 ** size; reached++) {
        if (bits(reached) < quorum) continue
        t.true(2 * bits(replicas & ~reached) <= bits(replicas), `${size} servers: ${replicas} ${reached}`)
      }
    }
    return quorum
  })
  t.deepEqual(quorums, [2, 2, 3, 4])
  t.is(leaderlessQuorum(planNats(settings({ urls: ['tls://x'] }))), Number.POSITIVE_INFINITY)
  t.is(leaderlessQuorum(planNats(settings({}))), Number.POSITIVE_INFINITY)
})

function bits(set: number): number {
  return set.toString(2).replaceAll('0', '').length
}

test('two servers, and a host that is not in its own list, are told', (t) => {
  t.regex(planNats(settings({ peers: ['10.0.0.1', '10.0.0.2'] })).warning ?? '', /losing either stops changes/)
  t.regex(planNats(settings({ peers: ['10.0.0.2', '10.0.0.3', '10.0.0.4'] })).warning ?? '', /not in WHERRY_PEERS/)
  t.is(planNats(settings({ peers: ['10.0.0.1', '10.0.0.2', '10.0.0.3'] })).warning, null)
})

test('no plaintext between hosts: nats:// to another machine is refused, TLS and loopback are taken', (t) => {
  for (const urls of [['nats://10.0.0.9:4222'], ['nats://127.0.0.1', 'nats://nats.example.org']]) {
    t.is(codeOf(t.throws(() => ownEndpoint(urls, '10.0.0.1', TLS))), 'SETTING_INVALID')
  }
  for (const urls of [['http://x'], ['10.0.0.1:4222'], ['tls://x', 'nats://127.0.0.1']]) {
    t.is(codeOf(t.throws(() => ownEndpoint(urls, '10.0.0.1', TLS))), 'SETTING_INVALID')
  }
  t.deepEqual(ownEndpoint(['tls://a%40b:p%3Aw@n1:5222', 'tls://n2'], '10.0.0.1', TLS), {
    servers: ['n1:5222', 'n2:4222'],
    tls: TLS,
    tlsFirst: false,
    inbox: '_INBOX.10_0_0_1',
    login: { user: 'a@b', password: 'p:w' },
  })
  t.like(ownEndpoint(['nats://token@127.0.0.1'], '10.0.0.1', TLS), { tls: null, login: { token: 'token' } })
  t.notRegex(t.throws(() => ownEndpoint(['xx://user:secret@h'], '10.0.0.1', TLS)).message, /secret/)
})

test('keys are valid, differ for different names and give the name back', (t) => {
  const names = ['a.b', 'a=2Eb', 'a=b', 'a b', 'ä', 'A', 'a', '..', '>', '*']
  const keys = names.map(toKey)
  t.is(new Set(keys).size, names.length)
  t.true(keys.every((key) => /^[-=\w]+$/.test(key)))
  t.deepEqual(keys.map(fromKey), names)
  t.is(codeOf(t.throws(() => toKey(''))), 'NAME_INVALID')
})

test('versions are compared by number, and server lines keep their level', (t) => {
  t.deepEqual(parseVersion('nats-server: v2.10.27'), [2, 10, 27])
  t.true(isOlder([2, 9, 10], [2, 10, 0]))
  t.false(isOlder([2, 10, 23], [2, 10, 23]))
  t.false(isOlder([3, 0, 0], [2, 10, 23]))
  t.deepEqual(parseServerLine('[12] [WRN] slow'), { level: 'warn', text: 'slow' })
  t.deepEqual(parseServerLine('[12] 2026/11/21 02:20:56.833627 [INF] Server is ready'), {
    level: 'debug',
    text: 'Server is ready',
  })
  t.deepEqual(parseServerLine('nats-server: bad.conf:1'), { level: 'error', text: 'nats-server: bad.conf:1' })
})
