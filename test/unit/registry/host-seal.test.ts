import { readFileSync } from 'node:fs'
import test from 'ava'
import type { TlsFiles } from '../../../agent/bus/endpoint.ts'
import type { HostRecord } from '../../../agent/model/model.ts'
import { HostSeals } from '../../../agent/registry/host-seal.ts'
import { hostSchema } from '../../../agent/registry/schema.ts'
import { certificates, scratch } from '../bus/server.ts'
import { hostRecord } from './records.ts'

const [ONE, TWO, THREE] = ['10.0.0.1', '10.0.0.2', 'db3.example.org'] as const
const PEERS = [ONE, TWO, THREE]

/** The identity of the host whose files these are. */
function identityOf({ ca, cert, key }: TlsFiles) {
  const files = { ca: readFileSync(ca), cert: readFileSync(cert), key: readFileSync(key) }
  return { current: () => files }
}

async function madeSeals() {
  await using made = await scratch()
  const tls = await certificates(`${made.dir}/certs`, PEERS)
  const foreign = await certificates(`${made.dir}/foreign`, PEERS)
  const ofHost = (files: TlsFiles | undefined) => {
    if (files === undefined) throw new Error('no certificate')
    const identity = identityOf(files)
    return (peers: readonly string[] = PEERS) => new HostSeals(identity, peers)
  }
  return { one: ofHost(tls[ONE]), two: ofHost(tls[TWO]), three: ofHost(tls[THREE]), foreign: ofHost(foreign[ONE]) }
}
const seals = madeSeals()

/** What a reader gets of a stored record; the reason if it does not believe it. */
function read(reader: HostSeals, record: unknown): HostRecord | string {
  const read = reader.schema.safeParse(JSON.parse(JSON.stringify(record)))
  return read.success ? read.data : (read.error.issues[0]?.message ?? '')
}

const heartbeat = (address: string, more: Partial<HostRecord> = {}): HostRecord => ({
  ...hostRecord('01JONE', '2026-01-01T00:00:00Z'),
  address,
  uses: { 7: ['c1'], '01JB': [], '01JA': ['c2'] },
  stuck: { '01JA': { code: 'DISK_FULL', text: 'full', since: '2026' } },
  ...more,
})

for (const address of [ONE, THREE]) {
  test(`a heartbeat that the host at ${address} signed is read as it was written`, async (t) => {
    const { one, two, three } = await seals
    const sealed = (address === ONE ? one() : three()).seal(heartbeat(address))
    const { seal, ...found } = read(two(), sealed) as HostRecord
    t.deepEqual(found, heartbeat(address))
    t.is(seal?.signature, sealed.seal?.signature)
  })
}

test('the mark of an expiry, by this release or an older one, and the next renewal keep the seal whole', async (t) => {
  const { one, two } = await seals
  const sealed = one().seal(heartbeat(ONE, { leaseMs: 8_000 }))
  const marked = { ...(read(two(), sealed) as HostRecord), expiredBy: 'h2' }
  t.is((read(two(), marked) as HostRecord).expiredBy, 'h2')
  const byOlder = { ...hostSchema.parse(JSON.parse(JSON.stringify(sealed))), expiredBy: 'h3' }
  t.is((read(two(), byOlder) as HostRecord).expiredBy, 'h3')
  t.is((read(two(), { ...sealed, renewal: 9, at: 'later' }) as HostRecord).renewal, 9)
})

test('what the signature does not cover is dropped', async (t) => {
  const { one, two } = await seals
  const found = read(two(), { ...one().seal(heartbeat(ONE)), unwritable: { code: 'X', text: '', since: '' } })
  t.is((found as HostRecord).unwritable, undefined)
})

test('a heartbeat with another address, id or content than its host signed is not believed', async (t) => {
  const { one, two } = await seals
  const sealed = one().seal(heartbeat(ONE))
  for (const change of [{ address: TWO }, { id: '01JTWO' }, { uses: {} }, { incarnation: 'mine' }, { leaseMs: 1 }]) {
    const stored = { ...sealed, ...change }
    const fields = [...(sealed.seal?.fields ?? []), ...Object.keys(change)]
    for (const seal of [sealed.seal, { ...sealed.seal, fields }]) {
      const found = read(two(), { ...stored, seal })
      if (typeof found === 'string') continue
      t.deepEqual(change, { leaseMs: 1 }, 'only a field that is not signed')
      t.is(found.leaseMs, undefined)
    }
  }
  const short = { ...sealed.seal, fields: ['uses'] }
  t.regex(read(two(), { ...sealed, seal: short }) as string, /covers no host/)
  t.not(
    typeof read(two(), { ...sealed, seal: { certificate: 'x', fields: ['id', 'address'], signature: '' } }),
    'object',
  )
  t.not(typeof read(two(), { ...sealed, seal: 7 }), 'object')
})

test('a host cannot sign for the address of another one, and a foreign CA signs for nobody', async (t) => {
  const { two, three, foreign } = await seals
  t.regex(read(three(), two().seal(heartbeat(ONE))) as string, /certificate of 10.0.0.1 is for/)
  t.regex(read(three(), foreign().seal(heartbeat(ONE))) as string, /not signed by the cluster's CA/)
})

test('a host that is known keeps its address and goes on signing, until its address leaves the list', async (t) => {
  const { one, two, three } = await seals
  const reader = three()
  const sealed = one().seal(heartbeat(ONE))
  t.is(typeof read(reader, sealed), 'object')
  t.regex(read(reader, two().seal(heartbeat(TWO))) as string, /is at 10.0.0.1; this heartbeat says 10.0.0.2/)
  t.regex(read(reader, heartbeat(ONE)) as string, /did not sign/)
  t.is(typeof read(reader, one().seal(heartbeat(ONE, { freeBytes: 7 }))), 'object')
  const moved = three([TWO, THREE])
  t.is(typeof read(moved, sealed), 'object')
  t.is(typeof read(moved, two().seal(heartbeat(TWO))), 'object')
})

test('heartbeats of older releases, without a seal, are read until the host signs', async (t) => {
  const { one, two } = await seals
  const reader = two()
  t.is(typeof read(reader, heartbeat(ONE)), 'object')
  t.is(typeof read(reader, one().seal(heartbeat(ONE))), 'object')
  t.is(typeof read(reader, heartbeat(ONE)), 'string')
})

test('a signature is made anew only when the statement has changed', async (t) => {
  const { one } = await seals
  const signer = one()
  const first = signer.seal(heartbeat(ONE))
  t.is(signer.seal(heartbeat(ONE, { renewal: 2, at: 'later' })).seal, first.seal)
  t.not(signer.seal(heartbeat(ONE, { freeBytes: 3 })).seal?.signature, first.seal?.signature)
})
