import test from 'ava'
import type { Health, HostView, VolumeView } from '../../../agent/api/contract.ts'
import { type Finding, findTrouble } from '../../../cli/findings.ts'
import { HEALTHY } from '../api/memory-mobility.ts'
import { HOST_VIEW, heldVolume } from './views.ts'

const NOW = new Date('2026-06-01T00:00:00Z')
const [H1, H2] = [HOST_VIEW, { ...HOST_VIEW, name: 'h2', address: '10.0.0.2', self: false }]
const held = heldVolume()
const SOUND: VolumeView = {
  ...{ ...held, diverged: [] },
  copies: held.copies.map((copy) => ({ ...copy, state: 'current' as const, why: null })),
}
const SINCE = { code: 'DISK_FULL', text: 'no room', since: '2026-05-01T00:00:00Z' } as const

interface Change {
  readonly health?: Partial<Health>
  readonly host?: Partial<HostView>
  readonly volume?: Partial<VolumeView>
}

function findings({ health, host, volume }: Change): Finding[] {
  const hosts = [H1, { ...H2, ...host }]
  return findTrouble({ health: { ...HEALTHY, ...health }, hosts, volumes: [{ ...SOUND, ...volume }] }, NOW)
}

test('a cluster that is well has no findings', (t) => {
  t.deepEqual(findings({}), [])
})

const TROUBLES: Record<string, [Change, Finding['severity'], about: RegExp, text: RegExp, mend: RegExp]> = {
  'a registry without a majority': [
    { health: { registry: { available: false, detail: '1 of 3', since: 'noon', waitsForHosts: true } } },
    ...([
      'error',
      /^host/,
      /has not replied to this host since noon: 1 of 3/,
      /start Wherry on the other hosts/,
    ] as const),
  ],
  'an engine that is away': [
    { health: { engine: { reachable: false, detail: 'refused' } } },
    ...(['error', /^host/, /engine does not reply: refused/, /systemctl status docker/] as const),
  ],
  'a disk that cannot be written': [
    { health: { state: { writable: false, detail: 'EROFS' } } },
    ...(['error', /^host/, /state directory cannot be written: EROFS/, /dmesg/] as const),
  ],
  'paused containers': [{ health: { fenced: ['c1'] } }, 'error', /^host/, /1 containers are paused/, /wherry status/],
  'a note of the agent': [{ health: { notes: ['two servers'] } }, 'warning', /^host/, /two servers/, /^$/],
  'a host that is away': [{ host: { alive: false } }, 'error', /^host h2$/, /away since 2026/, /it was at 10\.0\.0\.2/],
  "another host's disk": [{ host: { unwritable: SINCE } }, 'error', /h2/, /cannot write its disk since/, /dmesg/],
  'another list of hosts': [{ host: { otherPeers: true } }, 'warning', /h2/, /another WHERRY_PEERS/, /same list/],
  'a certificate that ends in a month': [
    { host: { certificateEnds: '2026-06-29T00:00:00Z' } },
    ...(['warning', /h2/, /ends at 2026-06-29/, /scripts\/certs certs 10\.0\.0\.2/] as const),
  ],
  'a certificate that ends in a week': [
    { host: { certificateEnds: '2026-06-06T00:00:00Z' } },
    ...(['error', /h2/, /ends at 2026-06-06/, /scripts\/certs/] as const),
  ],
  'a disk that fills up': [{ host: { freeBytes: 9e9 } }, 'warning', /h2/, /9\.00? GB of 100 GB are free/, /add a host/],
  'a full disk': [{ host: { freeBytes: 2e9 } }, 'error', /h2/, /2\.00? GB of 100 GB are free/, /make room/],
  'two versions': [
    { host: { version: '1.1.0' } },
    'note',
    /all hosts/,
    /versions 1\.0\.0, 1\.1\.0/,
    /upgrade the others/,
  ],
  'a lost holder': [
    { volume: { holder: { ...(held.holder as NonNullable<VolumeView['holder']>), away: '40 s' } } },
    ...(['error', /^volume data$/, /its holder h1 is away \(40 s\)/, /^wherry promote data$/] as const),
  ],
  'a holder that cannot release': [
    { volume: { stuck: { ...SINCE, host: 'h1' } } },
    ...(['error', /^volume data$/, /h1 cannot release it \(DISK_FULL\): no room/, /^wherry inspect data$/] as const),
  ],
  'late checkpoints': [
    { volume: { late: { ...SINCE, host: 'h1' } } },
    ...(['warning', /^volume data$/, /h1 cannot bring a checkpoint to other hosts: no room/, /inspect/] as const),
  ],
  'too few copies': [
    { volume: { copies: held.copies } },
    ...(['warning', /^volume data$/, /1 of 2 copies are current on living hosts/, /inspect/] as const),
  ],
  'a diverged tree here': [
    { volume: { diverged: held.diverged } },
    'warning',
    /data/,
    /1 diverged trees on this host/,
    /there/,
  ],
  'a diverged tree elsewhere': [
    { volume: { divergedElsewhere: [{ host: 'h2', trees: 2 }] } },
    ...(['warning', /data/, /2 diverged trees on h2/, /wherry inspect data, there/] as const),
  ],
  'a local volume of the same name': [
    { volume: { namesakes: ['h2'] } },
    ...(['warning', /data/, /local volume of this name on h2/, /docker volume rm data/] as const),
  ],
}

for (const [what, [change, severity, about, text, mend]] of Object.entries(TROUBLES)) {
  test(`${what}: found, with what mends it`, (t) => {
    const found = findings(change)
    t.is(found.length, 1, JSON.stringify(found))
    t.is(found[0]?.severity, severity)
    t.regex(found[0]?.about ?? '', about)
    t.regex(found[0]?.text ?? '', text)
    t.regex(found[0]?.mend ?? '', mend)
  })
}

test('a host that was removed or replaced is no finding', (t) => {
  t.deepEqual(findings({ host: { alive: false, gone: true, unwritable: SINCE, freeBytes: 0 } }), [])
})

test('what cannot be known is no finding: who is away without a registry, and copies as they were', (t) => {
  t.deepEqual(findings({ host: { alive: false, stale: true }, volume: { stale: true, copies: held.copies } }), [])
  t.deepEqual(
    findings({ host: { alive: false, unknown: true }, volume: { hostsUnknown: true, copies: held.copies } }),
    [],
  )
})
