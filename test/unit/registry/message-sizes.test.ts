import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { labelledRecords, labelsOf } from '../../../agent/mobility/swarm/node-labels.ts'
import type { HostRecord, RemovedRecord, VolumeRecord } from '../../../agent/model/model.ts'
import type { BUCKETS } from '../../../agent/registry/setup.ts'
import type { LocalCopy } from '../../../agent/store/contract.ts'
import { bareCopy } from '../../../agent/store/disk/new-copy.ts'
import type { CopyReply, Query } from '../../../agent/transfer/contract.ts'
import { REPLY_MAX_BYTES } from '../../../agent/transfer/send/answer-query.ts'
import { framePrefix } from '../../../agent/transfer/wire/frame.ts'
import { encodeQuery } from '../../../agent/transfer/wire/message.ts'
import { PROTOCOL } from '../../../agent/transfer/wire/protocol.ts'
import { scratch, startHost } from '../bus/server.ts'
import { busyHeartbeat } from './busy-host.ts'
import { readyRegistry, volumeRecord } from './records.ts'

/** What docs/performance.md says of these limits. */
const HOSTS = 1_000
const COPIES_OF_A_HOST = 30_000
const CONTAINER_MOUNTS = 1_000
const NODES = 1_000
/** Half of what nats-server takes unless it is told otherwise. */
const MESSAGE_BYTES = 512 * 1024
const AT = '2026-01-01T00:00:00.000Z'
const HASH = 'f'.repeat(64)
const NAME = 'n'.repeat(255)
const BIG = Number.MAX_SAFE_INTEGER
const UUID = '00000000-0000-4000-8000-000000000000'

const ids = (count: number) => Array.from({ length: count }, (_, nth) => `01J${String(nth).padStart(23, '0')}`)
const [ID = ''] = ids(1)
const checkpoint = { epoch: BIG, seq: BIG, hash: HASH, at: AT, bytes: BIG, files: BIG }
const tree = { name: `${AT}-${BIG}`, epoch: BIG, base: { epoch: BIG, seq: BIG }, at: AT, bytes: BIG }
const copyReply: CopyReply = { host: ID, epochSeen: BIG, checkpoint, held: true }

/** A record of a volume that every host of a large cluster has had, lost and been given up for. */
const VOLUME: VolumeRecord = volumeRecord(NAME, {
  id: ID,
  createdAt: AT,
  epoch: BIG,
  holder: { host: ID, incarnation: UUID, since: AT },
  last: checkpoint,
  seizures: Array.from({ length: 32 }, () => ({
    ...{ epoch: BIG, from: ID, by: ID, at: AT, ageSeconds: BIG },
    base: { epoch: BIG, seq: BIG, hash: HASH },
  })),
  seizuresCut: { epoch: BIG, hosts: ids(HOSTS) },
  copies: Object.fromEntries(
    ids(HOSTS).map((id) => [id, { epoch: BIG, seq: BIG, checkpoint, state: 'diverged' as const, at: AT, kept: false }]),
  ),
  removedAt: AT,
  lost: ids(HOSTS),
  predecessor: { id: ID, hosts: ids(HOSTS), until: AT },
})
const REMOVED: RemovedRecord = { id: ID, name: NAME, removedAt: AT, hosts: ids(HOSTS), lost: ids(HOSTS) }

/** The largest value of each bucket. */
const VALUES: { [Kind in keyof typeof BUCKETS]: () => Promise<VolumeRecord | RemovedRecord | HostRecord> } = {
  volumes: async () => VOLUME,
  removed: async () => REMOVED,
  hosts: async () => {
    const heartbeat = await busyHeartbeat()
    const fields = Object.keys(heartbeat)
    return { ...heartbeat, seal: { certificate: 'x'.repeat(16_384), fields, signature: 'x'.repeat(2_048) } }
  },
}

const event = { kind: 'container', action: 'start', id: HASH, host: ID, actor: HASH }
const mounts = Array.from({ length: CONTAINER_MOUNTS }, () => NAME)
/** The largest message of each subject: its values. Variable parts of a subject are `*`. */
const MESSAGES: Readonly<Record<string, unknown>> = {
  'volume.*.seized': { name: NAME, host: ID, ...VOLUME.seizures[0] },
  'volume.*.wanted': { id: ID, name: NAME, host: ID, sources: ids(HOSTS) },
  'volume.*.set_aside': { name: NAME, host: ID, directory: 'x'.repeat(4_096) },
  'volume.*.diverged': { ...tree, name: NAME, host: ID, directory: NAME },
  'volume.*.held': { name: NAME, host: ID, epoch: BIG },
  'volume.*.released': { name: NAME, host: ID, epoch: BIG, seq: BIG },
  'schedule.look': { host: ID, volume: NAME },
  'schedule.*': event,
  'schedule.task': { task: ID, service: NAME, node: ID, volumes: mounts, options: {}, host: ID, volume: NAME },
  'schedule.nodes': Object.fromEntries(ids(NODES).map((id) => [id, { zone: 'z'.repeat(64), drained: false }])),
  'container.*': { ...event, volumes: mounts },
  'hint.*': { name: NAME, id: ID, epoch: BIG },
}

const COPY: LocalCopy = {
  ...bareCopy(VOLUME),
  checkpoint,
  held: { epoch: BIG, incarnation: UUID },
  diverged: [tree, tree],
  mounts: { [HASH]: 1, [HASH.replaceAll('f', 'e')]: 1 },
  recordSeen: { epoch: BIG, holder: { host: ID, incarnation: UUID }, last: checkpoint },
}
/** The largest query of each kind, and its reply. */
const QUERIES: { [Kind in Query['kind']]: { query: Query & { kind: Kind }; reply: unknown } } = {
  copy: { query: { kind: 'copy', volume: ID }, reply: copyReply },
  offer: { query: { kind: 'offer', record: VOLUME, checkpoint, from: ID }, reply: copyReply },
  registry: { query: { kind: 'registry' }, reply: { server: true, leader: true, seen: true, host: ID } },
  references: {
    query: { kind: 'references', volume: ID, name: NAME, removing: true },
    reply: { host: ID, containers: mounts.map((name) => ({ name, state: 'running' })), services: mounts },
  },
  surrender: {
    query: { kind: 'surrender', volume: ID, epoch: BIG, incarnation: UUID, want: 'removal' },
    reply: { outcome: 'stuck', containers: mounts, trouble: { code: 'EIO', text: NAME, since: AT }, final: checkpoint },
  },
  compare: { query: { kind: 'compare', volume: ID, doubted: true }, reply: { host: ID, hash: HASH, why: NAME } },
  inventory: {
    query: { kind: 'inventory' },
    reply: {
      host: ID,
      copies: Array.from({ length: COPIES_OF_A_HOST }, () => COPY),
      ...{ proven: ids(COPIES_OF_A_HOST), guarded: ids(COPIES_OF_A_HOST), removed: [], damaged: [] },
    },
  },
}

const bytesOf = (value: unknown) => Buffer.byteLength(JSON.stringify(value))

/** The subjects of all messages that agents publish, as they stand in the source. */
async function publishedSubjects(): Promise<string[]> {
  const agent = join(import.meta.dirname, '../../../agent')
  const files = await readdir(agent, { recursive: true })
  const texts = await Promise.all(
    files.filter((name) => name.endsWith('.ts')).map((name) => readFile(join(agent, name))),
  )
  const found = texts.flatMap((text) => [...text.toString().matchAll(/\bbus\.publish\(\s*(?:(['`])(.*?)\1|(\w+))/gs)])
  const subjects = found.map(([, , literal, constant]) => literal?.replaceAll(/\$\{[^}]*\}/g, '*') ?? constant ?? '')
  return [...new Set(subjects.map((subject) => (subject === 'NODES_SUBJECT' ? 'schedule.nodes' : subject)))].sort()
}

test('no value of the registry grows beyond what NATS takes, in a cluster of 1,000 hosts', async (t) => {
  for (const [kind, largest] of Object.entries(VALUES)) {
    const bytes = bytesOf(await largest())
    t.log(kind, bytes)
    t.true(bytes > 10_000 && bytes < MESSAGE_BYTES, `${kind}: ${bytes} bytes`)
  }
})

test('no message between agents grows beyond what NATS takes, and this test knows all of them', async (t) => {
  t.deepEqual(await publishedSubjects(), Object.keys(MESSAGES).sort())
  for (const [subject, message] of Object.entries(MESSAGES)) t.true(bytesOf(message) < MESSAGE_BYTES, subject)
})

test('every query and every reply fits the frames of the transfer', (t) => {
  for (const [kind, { query, reply }] of Object.entries(QUERIES)) {
    t.notThrows(() => framePrefix('request', encodeQuery(query, PROTOCOL.highest).length), kind)
    const bytes = bytesOf(reply)
    t.log(kind, bytes)
    t.true(bytes < REPLY_MAX_BYTES, `${kind}: ${bytes} bytes`)
  }
})

test('labels of a Swarm node stay below what Swarm takes, and an older volume keeps its label', (t) => {
  const name = (nth: number) => `stack_volume-with-a-long-name-${nth}`
  const records = ids(20_000).map((id, nth) => ({ ...volumeRecord(name(nth)), id, last: checkpoint }))
  const { labelled, left } = labelledRecords(records.toReversed())
  const labels = labelsOf(null, labelled)
  t.true(bytesOf(labels) < MESSAGE_BYTES)
  t.true(labelled.length > 4_000)
  t.is(labelled.length + left, records.length)
  t.is(labels[`wherry.${name(0)}`], 'none')
  t.is(labels[`wherry.${name(19_999)}`], undefined)
})

test('a nats-server that takes smaller messages is reported as a problem', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  await using registry = await readyRegistry(host)
  t.deepEqual(registry.state().problems, [])
  const connection = host.bus.connection()
  if (connection.info !== undefined) connection.info.max_payload = 65_536
  await using second = await readyRegistry(host)
  t.regex(second.state().problems.join('\n'), /65536 bytes: set max_payload to 1MB or more/)
})
