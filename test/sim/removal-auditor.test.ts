import test from 'ava'
import { volumeRecord } from '../unit/registry/records.ts'
import type { Audit } from './audit.ts'
import { Oracle } from './oracle.ts'
import { RemovalAuditor } from './removal-auditor.ts'
import { noTotals } from './totals.ts'
import type { SimWorld } from './world.ts'

const copy = { epoch: 1, seq: 1, state: 'current', at: '', kept: true } as const
const holder = { host: 'h1', incarnation: 'i', since: '' }

/** Returns what is said when a volume is given up together with h1, where a container can write it. */
function complaints(unaware: boolean): string[] {
  const held = volumeRecord('data', { epoch: 1, holder, copies: { h1: copy, h2: copy } })
  const oracle = new Oracle()
  oracle.add(held)
  const truth = oracle.of(held.id)
  const writer = { id: 'c', mountedId: held.id, alive: true, frozen: false, ending: false, stopped: false }
  const machine = { on: true, unaware, containers: { all: [writer] } }
  const operators = { givenUp: new Set(['data']) }
  const world = { machine: () => machine, operators, options: { onIsolation: 'pause' }, trace: () => undefined }
  const found: string[] = []
  const audit = { totals: noTotals(), failed: (rule: string) => void found.push(rule) }
  const auditor = new RemovalAuditor(world as unknown as SimWorld, audit as unknown as Audit)
  if (truth !== undefined) auditor.fromHolder(truth, held, { ...held, epoch: 2, holder: null }, 'h2')
  return [...found, ...(truth?.forks.has('h1') === true ? ['fork'] : [])]
}

test('a holder that is given up may write only while its machine, which was stopped, does not know that', (t) => {
  t.deepEqual(complaints(false), ['promise 6'])
  t.deepEqual(complaints(true), ['fork'])
})
