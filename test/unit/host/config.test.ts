import test from 'ava'
import { type Config, DEFAULTS, parseConfig } from '../../../agent/host/config.ts'
import { pathsUnder, rootOf } from '../../../agent/host/paths.ts'
import { WherryError } from '../../../agent/model/errors.ts'

/** The one line a user sees for these settings. */
function complaint(env: Record<string, string>): string {
  try {
    parseConfig(env)
  } catch (error) {
    if (error instanceof WherryError && error.code === 'SETTING_INVALID') return error.toLine()
    throw error
  }
  return 'accepted'
}

const NO_SETTINGS: Config = {
  advertise: '',
  peers: [],
  nats: [],
  log: 'info',
  transferPort: 7450,
  natsPort: 7451,
  natsClusterPort: 7452,
  mountDeadlineMs: 110_000,
  heartbeatMs: 1_000,
  leaseMs: 8_000,
  seizeAfterMs: 12_000,
  pauseBudgetMs: 500,
  checkpointShare: 0.2,
  replaceAfterMs: 600_000,
  trashRetentionMs: 7 * 86_400_000,
  bandwidthBytesPerSecond: null,
}

const SAMPLES: Record<string, [Record<string, string>, Partial<Config>]> = {
  'a single host': [{}, {}],
  'empty strings, as docker plugin set leaves them': [
    Object.fromEntries(Object.keys(DEFAULTS).map((key) => [key, ''])),
    {},
  ],
  'three hosts with the embedded registry': [
    { WHERRY_ADVERTISE: '10.0.0.2', WHERRY_PEERS: '10.0.0.1, 10.0.0.2, 10.0.0.3' },
    { advertise: '10.0.0.2', peers: ['10.0.0.1', '10.0.0.2', '10.0.0.3'] },
  ],
  'hosts that find themselves in the list': [
    { WHERRY_PEERS: '10.0.0.1,10.0.0.2' },
    { advertise: '', peers: ['10.0.0.1', '10.0.0.2'] },
  ],
  'names in any case and IPv6': [
    { WHERRY_ADVERTISE: 'Node-1.Example.org', WHERRY_PEERS: 'node-1.example.org,fd00::2' },
    { advertise: 'node-1.example.org', peers: ['node-1.example.org', 'fd00::2'] },
  ],
  'a NATS of the user': [
    { WHERRY_ADVERTISE: 'h1', WHERRY_NATS: 'tls://n1:4222,tls://n2' },
    { advertise: 'h1', nats: ['tls://n1:4222', 'tls://n2'] },
  ],
  'times in every unit': [
    { WHERRY_MOUNT_DEADLINE: '1.5m', WHERRY_HEARTBEAT: '500ms', WHERRY_LEASE: '2s', WHERRY_TRASH_RETENTION: '12h' },
    { mountDeadlineMs: 90_000, heartbeatMs: 500, leaseMs: 2_000, trashRetentionMs: 43_200_000 },
  ],
  'a bandwidth in MB': [{ WHERRY_BANDWIDTH: '12.5MB/s' }, { bandwidthBytesPerSecond: 12_500_000 }],
  'a bandwidth in kB and the smallest': [{ WHERRY_BANDWIDTH: '100 kB/s' }, { bandwidthBytesPerSecond: 100_000 }],
  'a bandwidth in GB': [{ WHERRY_BANDWIDTH: '1GB/s' }, { bandwidthBytesPerSecond: 1e9 }],
  'other ports and level': [
    {
      WHERRY_LOG: 'debug',
      WHERRY_TRANSFER_PORT: '1',
      WHERRY_NATS_PORT: '65535',
      WHERRY_NATS_CLUSTER_PORT: '7450',
      PATH: '/bin',
    },
    { log: 'debug', transferPort: 1, natsPort: 65_535, natsClusterPort: 7450 },
  ],
}

for (const [what, [env, changed]] of Object.entries(SAMPLES)) {
  test(`settings of ${what} are read`, (t) => {
    t.deepEqual(parseConfig(env), { ...NO_SETTINGS, ...changed })
  })
}

const REFUSED: Record<string, [Record<string, string>, RegExp]> = {
  'a NATS without an own address': [
    { WHERRY_NATS: 'nats://n1' },
    /WHERRY_ADVERTISE must be set .* WHERRY_ADVERTISE=10\.0\.0\.1/,
  ],
  'peers without this host': [
    { WHERRY_ADVERTISE: 'h1', WHERRY_PEERS: 'h2,h3' },
    /WHERRY_PEERS must contain this host's own address h1, for example WHERRY_PEERS=h1,h2,h3/,
  ],
  'a peer named twice': [{ WHERRY_ADVERTISE: 'h1', WHERRY_PEERS: 'h1,h2,H1' }, /WHERRY_PEERS must be .* each once/],
  'a hole in the list': [{ WHERRY_ADVERTISE: 'h1', WHERRY_PEERS: 'h1,,h2' }, /WHERRY_PEERS must be/],
  'half an IPv4 address': [{ WHERRY_ADVERTISE: '10.0.0' }, /WHERRY_ADVERTISE must be .* for example 10\.0\.0\.1/],
  'an address with a port': [{ WHERRY_ADVERTISE: '10.0.0.1:80' }, /WHERRY_ADVERTISE must be/],
  'a NATS that is no URL of NATS': [
    { WHERRY_ADVERTISE: 'h1', WHERRY_NATS: 'http://n1' },
    /WHERRY_NATS must be .* tls:/,
  ],
  'a port out of range': [{ WHERRY_NATS_PORT: '65536' }, /WHERRY_NATS_PORT must be a port .* for example 7451/],
  'a port with letters': [{ WHERRY_NATS_PORT: '74x' }, /WHERRY_NATS_PORT must be a port/],
  'one port for two things': [{ WHERRY_NATS_PORT: '7450' }, /must differ, for example 7450, 7451 and 7452/],
  'a deadline beyond what Docker waits': [{ WHERRY_MOUNT_DEADLINE: '111s' }, /WHERRY_MOUNT_DEADLINE must be .* 110s/],
  'a bandwidth without time': [
    { WHERRY_BANDWIDTH: '100MB' },
    /WHERRY_BANDWIDTH must be a rate .* for example 100MB\/s/,
  ],
  'a bandwidth of next to nothing': [{ WHERRY_BANDWIDTH: '99kB/s' }, /WHERRY_BANDWIDTH must be a rate/],
  'no bandwidth at all': [{ WHERRY_BANDWIDTH: '0MB/s' }, /WHERRY_BANDWIDTH must be a rate/],
  'no deadline': [{ WHERRY_MOUNT_DEADLINE: '0s' }, /WHERRY_MOUNT_DEADLINE must be/],
  'a share of nothing': [
    { WHERRY_CHECKPOINT_SHARE: '0%' },
    /WHERRY_CHECKPOINT_SHARE must be a share .* for example 20%/,
  ],
  'a share without its sign': [{ WHERRY_CHECKPOINT_SHARE: '0.2' }, /WHERRY_CHECKPOINT_SHARE must be a share/],
  'a pause of minutes': [{ WHERRY_PAUSE_BUDGET: '2m' }, /WHERRY_PAUSE_BUDGET must be a time from 10ms to 1m/],
  'a time without unit': [{ WHERRY_LEASE: '8' }, /WHERRY_LEASE must be a time .* for example 8s/],
  'a lease of three heartbeats': [
    { WHERRY_HEARTBEAT: '1s', WHERRY_LEASE: '3s' },
    /WHERRY_LEASE must be at least 4 times/,
  ],
  'an unknown level': [{ WHERRY_LOG: 'chatty' }, /WHERRY_LOG must be one of trace, debug/],
  'a misspelt key': [{ WHERRY_PEER: 'h1' }, /WHERRY_PEER is not a setting, did you mean WHERRY_PEERS\?/],
  'another misspelt key': [{ WHERRY_TRASH_KEEP: '1d' }, /did you mean WHERRY_TRASH_RETENTION\?/],
}

for (const [what, [env, line]] of Object.entries(REFUSED)) {
  test(`${what}: refused with an example`, (t) => {
    t.regex(complaint(env), line)
  })
}

test('all problems are reported at once in one line', (t) => {
  const line = complaint({ WHERRY_LOG: 'loud', WHERRY_NATS: 'tls://n1', WHERRY_NATS_PORT: 'x', WHERRY_LAESE: '9s' })
  for (const part of ['WHERRY_LOG', 'WHERRY_ADVERTISE', 'WHERRY_NATS_PORT', 'WHERRY_LEASE?'])
    t.true(line.includes(part))
  t.false(line.includes('\n'))
})

test('a complaint does not show the password of a NATS URL', (t) => {
  t.false(complaint({ WHERRY_ADVERTISE: 'h1', WHERRY_NATS: 'nats://me:secret@n1,oops://n2' }).includes('secret'))
})

test('--root puts all paths but the nats-server below a directory', (t) => {
  t.is(rootOf([]), '/')
  t.is(rootOf(['--root', '/tmp/x']), '/tmp/x')
  t.is(pathsUnder('/tmp/x').agentSocket, '/tmp/x/var/lib/wherry/agent.sock')
  t.is(pathsUnder('/').pluginSocket, '/run/docker/plugins/wherry.sock')
  t.throws(() => rootOf(['--rot', '/tmp/x']), { instanceOf: WherryError, message: /--rot/ })
  t.throws(() => rootOf(['--root', 'relative']), { instanceOf: WherryError })
})
